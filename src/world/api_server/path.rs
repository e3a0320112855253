//! Where in an object something stands, written out only when it is told.

use std::fmt;

/// A place in an object, from the outside in.
pub(super) enum Path<'a> {
    /// The object itself.
    Root,
    /// A declared field of it.
    Field(&'a Path<'a>, &'a str),
    /// A member of a map.
    Member(&'a Path<'a>, &'a str),
    /// An entry of a list.
    Index(&'a Path<'a>, usize),
}

impl<'a> Path<'a> {
    /// A field, if it is a declared one, or a map's member below `path`.
    pub fn below(path: &'a Self, name: &'a str, declared: bool) -> Self {
        if declared { Self::Field(path, name) } else { Self::Member(path, name) }
    }

    /// Whether it is the object itself.
    pub fn is_root(&self) -> bool {
        matches!(self, Self::Root)
    }
}

impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Root => Ok(()),
            Self::Field(Self::Root, name) | Self::Member(Self::Root, name) => f.write_str(name),
            Self::Field(path, name) => write!(f, "{path}.{name}"),
            Self::Member(path, name) => write!(f, "{path}[{name}]"),
            Self::Index(path, index) => write!(f, "{path}[{index}]"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_written_as_the_api_server_writes_it() {
        let spec = Path::below(&Path::Root, "spec", true);
        let list = Path::below(&spec, "slos", true);
        let entry = Path::Index(&list, 2);
        let member = Path::below(&entry, "labels", true);
        assert_eq!(Path::below(&member, "a/b", false).to_string(), "spec.slos[2].labels[a/b]");
        assert_eq!(Path::Root.to_string(), "");
    }
}
