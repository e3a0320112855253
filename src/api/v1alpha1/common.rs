//! Units as strings: a person reads `0.5%` and `90s`, and no float is ever stored (API conventions).

use std::{borrow::Cow, fmt, str::FromStr};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

/// Why a string is not a [`Percent`] or a [`Duration`]: says what to write instead.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct UnitError(String);

/// The name of another object in the same namespace (or of a cluster-scoped kind).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LocalRef {
    /// Name of the object. Example: `iris`.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
}

/// A share in parts per million, written with a percent sign: `5%`, `0.5%`, `99.995%`; between `0%` and `100%`, at
/// most four digits after the point.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Percent(i32);

impl Percent {
    /// Nothing.
    pub const ZERO: Self = Self(0);
    /// Everything: 1 000 000 parts per million.
    pub const ALL: Self = Self(1_000_000);

    /// A share of `ppm` parts per million; `None` outside 0..=1 000 000.
    #[must_use]
    pub const fn from_ppm(ppm: i32) -> Option<Self> {
        if ppm < 0 || ppm > Self::ALL.0 { None } else { Some(Self(ppm)) }
    }

    /// Parts per million.
    #[must_use]
    pub const fn ppm(self) -> i32 {
        self.0
    }

    /// As a fraction between 0 and 1, for the judge.
    #[must_use]
    pub fn fraction(self) -> f64 {
        f64::from(self.0) / 1e6
    }
}

impl FromStr for Percent {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let wrong = || {
            UnitError(format!(
                "{text:?} is not a percentage from 0% to 100%: write for instance 5% or 99.95%"
            ))
        };
        let number = text.strip_suffix('%').ok_or_else(wrong)?;
        let (whole, rest) = number.split_once('.').unwrap_or((number, "0"));
        let digits = |s: &str| !s.is_empty() && s.bytes().all(|b| b.is_ascii_digit());
        if !digits(whole) || !digits(rest) || whole.len() > 3 || rest.len() > 4 {
            return Err(wrong());
        }
        let ppm = format!("{whole}{rest:0<4}").parse().map_err(|_| wrong())?;
        Self::from_ppm(ppm).ok_or_else(wrong)
    }
}

impl fmt::Display for Percent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, rest) = (self.0 / 10_000, self.0 % 10_000);
        if rest == 0 {
            return write!(f, "{whole}%");
        }
        let rest = format!("{rest:04}");
        write!(f, "{whole}.{}%", rest.trim_end_matches('0'))
    }
}

/// A length of time in whole milliseconds, written as the Gateway API writes it (GEP-2257): `90s`, `1h30m`, `500ms`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Duration(i64);

impl Duration {
    /// Units and their length in milliseconds, the longest first.
    const UNITS: [(&'static str, i64); 4] = [("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)];

    /// A length of `millis` milliseconds.
    #[must_use]
    pub const fn from_millis(millis: i64) -> Self {
        Self(millis)
    }

    /// A length of `secs` seconds.
    #[must_use]
    pub const fn from_secs(secs: i64) -> Self {
        Self(secs * 1000)
    }

    /// Whole milliseconds.
    #[must_use]
    pub const fn millis(self) -> i64 {
        self.0
    }

    /// The same length for arithmetic on timestamps.
    #[must_use]
    pub const fn signed(self) -> jiff::SignedDuration {
        jiff::SignedDuration::from_millis(self.0)
    }
}

impl FromStr for Duration {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let wrong =
            || UnitError(format!("{text:?} is not a duration: write for instance 90s, 5m, 1h30m or 500ms"));
        let (mut rest, mut total, mut parts) = (text, 0_i64, 0);
        while !rest.is_empty() && parts < 4 {
            let end = rest
                .find(|c: char| !c.is_ascii_digit())
                .filter(|end| (1..=5).contains(end))
                .ok_or_else(wrong)?;
            let number: i64 = rest[..end].parse().map_err(|_| wrong())?;
            rest = &rest[end..];
            let unit_end = rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len());
            let unit = Self::UNITS.iter().find(|(name, _)| *name == &rest[..unit_end]).ok_or_else(wrong)?;
            total += number * unit.1;
            rest = &rest[unit_end..];
            parts += 1;
        }
        if parts == 0 || !rest.is_empty() { Err(wrong()) } else { Ok(Self(total)) }
    }
}

impl fmt::Display for Duration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 == 0 {
            return f.write_str("0s");
        }
        let mut left = self.0;
        for (unit, length) in Self::UNITS {
            if left >= length {
                write!(f, "{}{unit}", left / length)?;
                left %= length;
            }
        }
        Ok(())
    }
}

/// A CEL rule about text that it converts. It says nothing of text that cannot be converted, which the pattern of its field
/// refuses: a rule that ends in an error, not in `false`, refuses every write of an object that was stored before its pattern
/// was there, also that of the status which says so.
macro_rules! rule_if {
    (duration $($field:literal),+ => $rule:literal) => {
        concat!($("!", $field, ".matches('^([0-9]{1,5}(h|m|s|ms)){1,4}$') || ",)+ "(", $rule, ")")
    };
    (percent $field:literal => $rule:literal) => {
        concat!("!", $field, ".matches('^[0-9]{1,3}([.][0-9]{1,4})?%$') || (", $rule, ")")
    };
    (percent of steps => $rule:literal) => {
        concat!("self.exists(s, !s.weight.matches('^[0-9]{1,3}([.][0-9]{1,4})?%$')) || (", $rule, ")")
    };
    (number $field:literal => $rule:literal) => {
        concat!("!", $field, ".matches('^[0-9]{1,3}([.][0-9]{1,4})?$') || (", $rule, ")")
    };
}
pub(super) use rule_if;

/// Both units are strings on the wire, with a pattern that the API server checks when the object is applied.
macro_rules! string_unit {
    ($type:ty, $name:literal, $pattern:literal, $max:literal) => {
        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                Cow::<'de, str>::deserialize(deserializer)?.parse().map_err(D::Error::custom)
            }
        }

        impl JsonSchema for $type {
            fn schema_name() -> Cow<'static, str> {
                $name.into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({"type": "string", "pattern": $pattern, "maxLength": $max})
            }
        }
    };
}

string_unit!(Percent, "Percent", r"^(100(\.0{1,4})?|[0-9]{1,2}(\.[0-9]{1,4})?)%$", 9);
string_unit!(Duration, "Duration", "^([0-9]{1,5}(h|m|s|ms)){1,4}$", 28);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("0%", 0)]
    #[case("5%", 50_000)]
    #[case("0.5%", 5_000)]
    #[case("99.995%", 999_950)]
    #[case("100%", 1_000_000)]
    fn a_percentage_is_held_in_parts_per_million(#[case] text: &str, #[case] ppm: i32) {
        assert_eq!(text.parse::<Percent>().unwrap().ppm(), ppm);
    }

    #[rstest]
    #[case("5")]
    #[case("")]
    #[case("%")]
    #[case("-1%")]
    #[case("101%")]
    #[case("1.23456%")]
    #[case("0.05 %")]
    #[case("1e1%")]
    #[case("5%%")]
    #[case(".5%")]
    fn a_wrong_percentage_says_what_to_write(#[case] text: &str) {
        assert!(text.parse::<Percent>().unwrap_err().to_string().contains("write for instance 5%"));
    }

    #[rstest]
    #[case("90s", 90_000)]
    #[case("1h30m", 5_400_000)]
    #[case("500ms", 500)]
    #[case("0s", 0)]
    fn a_duration_is_held_in_milliseconds(#[case] text: &str, #[case] millis: i64) {
        assert_eq!(text.parse::<Duration>().unwrap().millis(), millis);
    }

    #[rstest]
    #[case("5")]
    #[case("")]
    #[case("-5s")]
    #[case("1.5s")]
    #[case("5 s")]
    #[case("1d")]
    #[case("123456s")]
    #[case("1s1s1s1s1s")]
    fn a_wrong_duration_says_what_to_write(#[case] text: &str) {
        assert!(text.parse::<Duration>().unwrap_err().to_string().contains("write for instance 90s"));
    }

    proptest! {
        #[test]
        fn what_is_printed_reads_back(ppm in 0..=1_000_000_i32, millis in 0..300_000_000_i64) {
            let percent = Percent::from_ppm(ppm).unwrap();
            prop_assert_eq!(percent.to_string().parse::<Percent>().unwrap(), percent);
            let duration = Duration::from_millis(millis);
            prop_assert_eq!(duration.to_string().parse::<Duration>().unwrap(), duration);
        }
    }
}
