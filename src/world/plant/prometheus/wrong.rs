//! Everything that may be wrong with a Prometheus' answer (reliability.md §4d).

use std::time::Duration;

use http::Response;

use super::respond;
use crate::prometheus::client::Fault;

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wrong {
    /// No answer: the transport's own fault, after so long.
    Transport(Fault, Duration),
    /// An answer that comes so late.
    Slow(Duration),
    /// Only samples that are older than this.
    Late(Duration),
    /// No series.
    Empty,
    /// Every series a second time, with another label.
    Several,
    /// Every series a second time, with the same labels.
    Twice,
    /// Series of something else.
    OtherLabels,
    /// Every value is this text: `NaN`, `+Inf`, `-Inf`, `-1`, `1e400`, or nothing.
    Number(&'static str),
    /// A warning beside the data.
    Warnings,
    /// Another status than 200, with the usual body.
    Status(u16),
    /// 200 with `status: error`.
    Error,
    /// 200 with a page.
    Html,
    /// 200 with nothing.
    Nothing,
    /// The body ends in its middle.
    Truncated,
    /// Not UTF-8.
    Garbled,
    /// Another type of result: `scalar`, `string`, `streams`.
    Type(&'static str),
    /// Arrays in arrays in arrays.
    Deep,
}

impl Wrong {
    /// One of each, with usual numbers: what a simulation draws from.
    #[must_use]
    pub fn all() -> Vec<Self> {
        let second = Duration::from_secs(1);
        let mut all = vec![
            Self::Transport(Fault::Unreachable, Duration::ZERO),
            Self::Transport(Fault::Timeout, 10 * second),
            Self::Transport(Fault::Interrupted, second),
            Self::Transport(Fault::Tls, Duration::ZERO),
            Self::Transport(Fault::TooLarge, second),
            Self::Transport(Fault::Token, Duration::ZERO),
            Self::Slow(5 * second),
            Self::Slow(15 * second),
            Self::Late(45 * second),
            Self::Late(600 * second),
            Self::Empty,
            Self::Twice,
            Self::OtherLabels,
            Self::Warnings,
            Self::Error,
            Self::Html,
            Self::Nothing,
            Self::Truncated,
            Self::Garbled,
            Self::Deep,
        ];
        all.extend(["NaN", "+Inf", "-Inf", "-1", "1e400", ""].map(Self::Number));
        all.extend([204, 302, 400, 401, 403, 404, 422, 429, 500, 503, 504].map(Self::Status));
        all.extend(["scalar", "string", "streams"].map(Self::Type));
        all
    }

    /// How much longer it takes.
    #[must_use]
    pub fn pause(&self) -> Duration {
        match self {
            Self::Transport(_, after) | Self::Slow(after) => *after,
            _ => Duration::ZERO,
        }
    }

    /// What the transport says instead of an answer.
    #[must_use]
    pub fn fault(&self) -> Option<Fault> {
        match self {
            Self::Transport(fault, _) => Some(*fault),
            _ => None,
        }
    }

    /// By how many milliseconds the newest samples are missing.
    #[must_use]
    pub fn late(&self) -> i64 {
        match self {
            Self::Late(by) => i64::try_from(by.as_millis()).unwrap_or(i64::MAX / 4),
            _ => 0,
        }
    }

    /// What stands instead of every value.
    #[must_use]
    pub fn number(&self) -> Option<&'static str> {
        match self {
            Self::Number(text) => Some(text),
            _ => None,
        }
    }

    /// The labels under which a series is sent: once as they are, unless something is wrong with them.
    #[must_use]
    pub fn metrics(wrong: Option<&Self>, metric: &str) -> Vec<String> {
        let more = |label: &str| {
            let rest = metric.strip_prefix('{').unwrap_or_default();
            let comma = if rest == "}" { "" } else { "," };
            format!("{{\"{label}\":\"x\"{comma}{rest}")
        };
        match wrong {
            Some(Self::Twice) => vec![metric.to_owned(), metric.to_owned()],
            Some(Self::Several) => vec![metric.to_owned(), more("replica")],
            Some(Self::OtherLabels) => vec![metric.replace("_80\"", "_81\"").replace("revision", "pod")],
            _ => vec![metric.to_owned()],
        }
    }

    /// The answer as it is sent instead of the good one.
    #[must_use]
    pub fn spoil(&self, good: String) -> Response<Vec<u8>> {
        match self {
            Self::Status(code) => respond(*code, good.into_bytes()),
            Self::Error => respond(
                200,
                br#"{"status":"error","errorType":"execution","error":"too many samples"}"#.to_vec(),
            ),
            Self::Html => respond(200, b"<!doctype html><title>Log in</title>".to_vec()),
            Self::Nothing => respond(200, vec![]),
            Self::Truncated => {
                let half = good.len() / 2;
                respond(200, good.into_bytes()[..half].to_vec())
            }
            Self::Garbled => {
                let mut bytes = good.into_bytes();
                let middle = bytes.len() / 2;
                bytes[middle] = 0xff;
                respond(200, bytes)
            }
            Self::Type(word) => {
                let renamed = ["matrix", "vector"].iter().fold(good, |text, kind| {
                    text.replacen(
                        &format!("\"resultType\":\"{kind}\""),
                        &format!("\"resultType\":\"{word}\""),
                        1,
                    )
                });
                respond(200, renamed.into_bytes())
            }
            Self::Deep => respond(200, [vec![b'['; 100_000], vec![b']'; 100_000]].concat()),
            _ => respond(200, good.into_bytes()),
        }
    }
}
