//! What a server may say instead of an answer (reliability: a bad response never counts as good).

use std::fmt::Write as _;

use proptest::prelude::*;
use rstest::rstest;

use super::*;

const START: i64 = 1_700_000_000_000;
const UNTIL: i64 = START + 90_000;

fn counter() -> Query {
    Query { role: Role::Total, promql: "m{}".to_owned(), start: Some(START), until: UNTIL }
}

fn single() -> Query {
    Query { role: Role::Value, promql: "avg(m)".to_owned(), start: None, until: UNTIL }
}

/// `@` stands for the moment of the evaluation, `@-5` for five seconds before it.
fn at(text: &str) -> String {
    let mut parts = text.split('@');
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let end = part.find(|c: char| !"+-0123456789".contains(c)).unwrap_or(part.len());
        let offset: i64 = part[..end].parse().unwrap_or(0);
        let _ = write!(out, "{}.000{}", UNTIL / 1000 + offset, &part[end..]);
    }
    out
}

fn matrix(values: &str) -> String {
    at(&format!(
        r#"{{"status":"success","data":{{"resultType":"matrix","result":[{{"metric":{{"__name__":"m"}},"values":[{values}]}}]}}}}"#
    ))
}

fn vector(result: &str) -> String {
    at(&format!(r#"{{"status":"success","data":{{"resultType":"vector","result":[{result}]}}}}"#))
}

fn reason<T: std::fmt::Debug>(answer: Result<T, Unanswered>) -> &'static str {
    let unanswered = answer.expect_err("must be no answer");
    assert!(!unanswered.message.contains("secret"), "{unanswered}");
    assert!(unanswered.message.len() < 200, "{unanswered}");
    unanswered.reason
}

#[rstest]
#[case::one(r#"[@-30,"1"],[@-15,"2"],[@,"2"]"#, &[(-30, 1.0), (-15, 2.0), (0, 2.0)])]
#[case::reset(r#"[@-15,"9"],[@,"1"]"#, &[(-15, 9.0), (0, 1.0)])]
#[case::nan_is_left_out(r#"[@-15,"NaN"],[@,"1"]"#, &[(0, 1.0)])]
#[case::infinity_is_left_out(r#"[@-30,"+Inf"],[@-15,"-Inf"],[@,"1"]"#, &[(0, 1.0)])]
#[case::beyond_f64_is_left_out(r#"[@-15,"1e400"],[@,"1"]"#, &[(0, 1.0)])]
#[case::only_nan(r#"[@,"NaN"]"#, &[])]
#[case::minus_zero(r#"[@,"-0"]"#, &[(0, 0.0)])]
#[case::exponent(r#"[@,"1.5e3"]"#, &[(0, 1500.0)])]
#[case::first_moment(r#"[@-90,"1"]"#, &[(-90, 1.0)])]
fn counters_are_read_sample_by_sample(#[case] values: &str, #[case] want: &[(i64, f64)]) {
    let series = parse(&counter(), matrix(values).as_bytes()).unwrap();
    let want: Vec<_> = want.iter().map(|(offset, value)| (UNTIL + offset * 1000, *value)).collect();
    assert_eq!(series[0].samples, want);
}

#[rstest]
#[case::gauge(r#"[@,"-1"]"#)]
#[case::too_large_to_count(r#"[@,"9007199254740994"]"#)]
#[case::future(r#"[@+1,"1"]"#)]
#[case::old(r#"[@-91,"1"]"#)]
#[case::falling(r#"[@,"1"],[@-15,"1"]"#)]
#[case::same_time_twice(r#"[@,"1"],[@,"2"]"#)]
#[case::number_as_number("[@,1]")]
#[case::empty_string(r#"[@,""]"#)]
#[case::words(r#"[@,"secret"]"#)]
#[case::rust_infinity(r#"[@,"infinity"]"#)]
#[case::rust_nan(r#"[@,"nan"]"#)]
#[case::hexadecimal(r#"[@,"0x10"]"#)]
#[case::underscore(r#"[@,"1_000"]"#)]
#[case::space(r#"[@," 1"]"#)]
#[case::null("[@,null]")]
#[case::boolean("[@,true]")]
#[case::time_as_string(r#"["@","1"]"#)]
#[case::time_null(r#"[null,"1"]"#)]
#[case::time_too_large(r#"[1e300,"1"]"#)]
#[case::time_beyond_f64(r#"[1e999,"1"]"#)]
#[case::no_value("[@]")]
#[case::three_parts(r#"[@,"1","2"]"#)]
#[case::object(r#"{"time":1,"value":"1"}"#)]
#[case::histogram_sample(r#"[@,{"count":"1","sum":"1","buckets":[]}]"#)]
fn samples_that_no_counter_has_are_a_bad_answer(#[case] values: &str) {
    assert_eq!(reason(parse(&counter(), matrix(values).as_bytes())), "BadAnswer");
}

#[rstest]
#[case::nothing("", "BadAnswer")]
#[case::spaces("  \n", "BadAnswer")]
#[case::html("<html><body>secret</body></html>", "BadAnswer")]
#[case::text("secret", "BadAnswer")]
#[case::null("null", "BadAnswer")]
#[case::number("1", "BadAnswer")]
#[case::empty_object("{}", "BadAnswer")]
#[case::list("[]", "BadAnswer")]
#[case::byte_order_mark("\u{feff}{\"status\":\"success\"}", "BadAnswer")]
#[case::trailing(r#"{"status":"success","data":{"resultType":"matrix","result":[]}} x"#, "BadAnswer")]
#[case::two_documents(r#"{"status":"success","data":{"resultType":"matrix","result":[]}}{}"#, "BadAnswer")]
#[case::no_data(r#"{"status":"success"}"#, "BadAnswer")]
#[case::data_null(r#"{"status":"success","data":null}"#, "BadAnswer")]
#[case::no_status(r#"{"data":{"resultType":"matrix","result":[]}}"#, "BadAnswer")]
#[case::other_status(r#"{"status":"secret","data":{"resultType":"matrix","result":[]}}"#, "BadAnswer")]
#[case::status_twice(
    r#"{"status":"error","status":"success","data":{"resultType":"matrix","result":[]}}"#,
    "BadAnswer"
)]
#[case::data_twice(r#"{"status":"success","data":{"resultType":"matrix","result":[]},"data":{"resultType":"matrix","result":[]}}"#, "BadAnswer")]
#[case::error(r#"{"status":"error","errorType":"execution","error":"secret"}"#, "QueryFailed")]
#[case::error_with_data(
    r#"{"status":"error","error":"secret","data":{"resultType":"matrix","result":[]}}"#,
    "QueryFailed"
)]
#[case::warnings(
    r#"{"status":"success","data":{"resultType":"matrix","result":[]},"warnings":["secret"]}"#,
    "Warnings"
)]
#[case::warnings_of_another_kind(
    r#"{"status":"success","data":{"resultType":"matrix","result":[]},"warnings":"secret"}"#,
    "BadAnswer"
)]
#[case::partial(
    r#"{"status":"success","isPartial":true,"data":{"resultType":"matrix","result":[]}}"#,
    "Warnings"
)]
#[case::scalar(
    r#"{"status":"success","data":{"resultType":"scalar","result":[1700000090,"1"]}}"#,
    "BadAnswer"
)]
#[case::vector(r#"{"status":"success","data":{"resultType":"vector","result":[]}}"#, "BadAnswer")]
#[case::string(
    r#"{"status":"success","data":{"resultType":"string","result":[1700000090,"secret"]}}"#,
    "BadAnswer"
)]
#[case::streams(r#"{"status":"success","data":{"resultType":"streams","result":[]}}"#, "BadAnswer")]
#[case::no_type(r#"{"status":"success","data":{"result":[]}}"#, "BadAnswer")]
#[case::result_null(r#"{"status":"success","data":{"resultType":"matrix","result":null}}"#, "BadAnswer")]
#[case::result_object(r#"{"status":"success","data":{"resultType":"matrix","result":{}}}"#, "BadAnswer")]
#[case::no_metric(
    r#"{"status":"success","data":{"resultType":"matrix","result":[{"values":[]}]}}"#,
    "BadAnswer"
)]
#[case::no_values(
    r#"{"status":"success","data":{"resultType":"matrix","result":[{"metric":{}}]}}"#,
    "BadAnswer"
)]
#[case::native_histograms(r#"{"status":"success","data":{"resultType":"matrix","result":[{"metric":{},"histograms":[[1700000000,{"count":"1"}]]}]}}"#, "BadAnswer")]
#[case::label_twice(r#"{"status":"success","data":{"resultType":"matrix","result":[{"metric":{"a":"1","a":"2"},"values":[]}]}}"#, "BadAnswer")]
#[case::label_number(
    r#"{"status":"success","data":{"resultType":"matrix","result":[{"metric":{"a":1},"values":[]}]}}"#,
    "BadAnswer"
)]
#[case::series_twice(r#"{"status":"success","data":{"resultType":"matrix","result":[{"metric":{"a":"1"},"values":[]},{"metric":{"a":"1"},"values":[]}]}}"#, "BadAnswer")]
#[case::lone_surrogate(
    r#"{"status":"success","data":{"resultType":"matrix","result":[{"metric":{"a":"\ud800"},"values":[]}]}}"#,
    "BadAnswer"
)]
fn an_envelope_that_is_not_wholly_sound_is_no_answer(#[case] body: &str, #[case] want: &str) {
    assert_eq!(reason(parse(&counter(), body.as_bytes())), want);
}

#[rstest]
#[case::vector(r#"{"metric":{},"value":[@,"0.7"]}"#, 0.7)]
#[case::name(r#"{"metric":{"__name__":"m","a":"b"},"value":[@,"7"]}"#, 7.0)]
#[case::minus(r#"{"metric":{},"value":[@,"-3"]}"#, -3.0)]
#[case::minus_zero(r#"{"metric":{},"value":[@,"-0"]}"#, 0.0)]
#[case::unknown_fields(r#"{"metric":{},"value":[@,"1"],"more":[{}]}"#, 1.0)]
fn a_single_finite_number_is_a_value(#[case] result: &str, #[case] want: f64) {
    let series = parse(&single(), vector(result).as_bytes()).unwrap();
    assert_eq!(series[0].samples, [(UNTIL, want)]);
}

#[test]
fn a_scalar_is_a_value() {
    let body = at(r#"{"status":"success","data":{"resultType":"scalar","result":[@,"0.7"]}}"#);
    assert_eq!(parse(&single(), body.as_bytes()).unwrap()[0].samples, [(UNTIL, 0.7)]);
}

#[rstest]
#[case::none("", "NoData")]
#[case::several(
    r#"{"metric":{"a":"1"},"value":[@,"1"]},{"metric":{"a":"2"},"value":[@,"1"]}"#,
    "SeveralSeries"
)]
#[case::twice(r#"{"metric":{},"value":[@,"1"]},{"metric":{},"value":[@,"1"]}"#, "SeveralSeries")]
#[case::nan(r#"{"metric":{},"value":[@,"NaN"]}"#, "NotANumber")]
#[case::infinity(r#"{"metric":{},"value":[@,"+Inf"]}"#, "NotANumber")]
#[case::minus_infinity(r#"{"metric":{},"value":[@,"-Inf"]}"#, "NotANumber")]
#[case::beyond_f64(r#"{"metric":{},"value":[@,"1e400"]}"#, "NotANumber")]
#[case::empty(r#"{"metric":{},"value":[@,""]}"#, "BadAnswer")]
#[case::future(r#"{"metric":{},"value":[@+2,"1"]}"#, "BadAnswer")]
#[case::old(r#"{"metric":{},"value":[@-2,"1"]}"#, "BadAnswer")]
#[case::range(r#"{"metric":{},"values":[[@,"1"]]}"#, "BadAnswer")]
#[case::histogram(r#"{"metric":{},"histogram":[@,{"count":"1","sum":"1"}]}"#, "BadAnswer")]
#[case::histogram_beside(r#"{"metric":{},"value":[@,"1"],"histogram":[@,{}]}"#, "BadAnswer")]
#[case::no_metric(r#"{"value":[@,"1"]}"#, "BadAnswer")]
#[case::label_twice(r#"{"metric":{"a":"1","a":"1"},"value":[@,"1"]}"#, "BadAnswer")]
fn what_is_not_one_number_is_no_value(#[case] result: &str, #[case] want: &str) {
    assert_eq!(reason(parse(&single(), vector(result).as_bytes())), want);
}

#[rstest]
#[case::matrix(r#"{"status":"success","data":{"resultType":"matrix","result":[]}}"#, "BadAnswer")]
#[case::string(r#"{"status":"success","data":{"resultType":"string","result":[@,"1"]}}"#, "BadAnswer")]
#[case::scalar_called_vector(
    r#"{"status":"success","data":{"resultType":"vector","result":[@,"1"]}}"#,
    "BadAnswer"
)]
#[case::vector_called_scalar(
    r#"{"status":"success","data":{"resultType":"scalar","result":[{"metric":{},"value":[@,"1"]}]}}"#,
    "BadAnswer"
)]
#[case::scalar_nan(r#"{"status":"success","data":{"resultType":"scalar","result":[@,"NaN"]}}"#, "NotANumber")]
#[case::warnings(
    r#"{"status":"success","warnings":["w"],"data":{"resultType":"scalar","result":[@,"1"]}}"#,
    "Warnings"
)]
#[case::error(r#"{"status":"error","data":{"resultType":"scalar","result":[@,"1"]}}"#, "QueryFailed")]
fn a_value_in_the_wrong_envelope_is_no_value(#[case] body: &str, #[case] want: &str) {
    assert_eq!(reason(parse(&single(), at(body).as_bytes())), want);
}

#[test]
fn notes_and_unknown_fields_do_not_disturb_an_answer() {
    let body = r#"{"infos":["PromQL info: metric might not be a counter"],"stats":{"x":[1]},"warnings":[],"isPartial":false,
        "status":"success","data":{"result":[],"stats":{},"resultType":"matrix"}}"#;
    assert_eq!(parse(&counter(), body.as_bytes()).unwrap(), []);
    let body = body.replace("[]", "null").replace(r#""result":null"#, r#""result":[]"#);
    assert_eq!(parse(&counter(), body.as_bytes()).unwrap(), []);
}

#[test]
fn deep_nesting_is_a_bad_answer_and_ends_nothing() {
    for (open, close) in [("[", "]"), ("{\"a\":", "}")] {
        let deep = format!("{}1{}", open.repeat(100_000), close.repeat(100_000));
        for body in [deep.clone(), format!(r#"{{"status":"success","x":{deep}}}"#)] {
            assert_eq!(reason(parse(&counter(), body.as_bytes())), "BadAnswer");
            assert_eq!(reason(parse(&single(), body.as_bytes())), "BadAnswer");
        }
        let body = vector(&format!(r#"{{"metric":{{}},"value":{deep}}}"#));
        assert_eq!(reason(parse(&single(), body.as_bytes())), "BadAnswer");
    }
}

#[test]
fn invalid_utf_8_is_a_bad_answer_even_where_nobody_looks() {
    let sound = matrix(r#"[@,"1"]"#).replace("\"status\"", "\"ignored\":\"~\",\"status\"");
    parse(&counter(), sound.as_bytes()).unwrap();
    let broken: Vec<u8> = sound.bytes().map(|b| if b == b'~' { 0xff } else { b }).collect();
    assert_eq!(reason(parse(&counter(), &broken)), "BadAnswer");
    assert_eq!(reason(parse(&counter(), &[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3])), "BadAnswer");
}

#[test]
fn an_answer_beyond_the_limits_is_too_large() {
    let sound = matrix(r#"[@,"1"]"#);
    let padded = |length: usize| format!("{sound}{}", " ".repeat(length - sound.len()));
    parse(&counter(), padded(MAX_BODY).as_bytes()).unwrap();
    assert_eq!(reason(parse(&counter(), padded(MAX_BODY + 1).as_bytes())), "TooLarge");
    let series = |n: usize| {
        let all: Vec<_> = (0..n).map(|i| format!(r#"{{"metric":{{"i":"{i}"}},"values":[]}}"#)).collect();
        format!(r#"{{"status":"success","data":{{"resultType":"matrix","result":[{}]}}}}"#, all.join(","))
    };
    assert_eq!(parse(&counter(), series(MAX_SERIES).as_bytes()).unwrap().len(), MAX_SERIES);
    assert_eq!(reason(parse(&counter(), series(MAX_SERIES + 1).as_bytes())), "TooLarge");
}

/// Every proper beginning of a sound answer, as a connection that ends early leaves it.
#[test]
fn a_truncated_answer_is_no_answer() {
    let body = matrix(r#"[@-15,"1"],[@,"2"]"#);
    for end in 0..body.len() {
        assert_eq!(reason(parse(&counter(), &body.as_bytes()[..end])), "BadAnswer");
    }
}

/// Sound in the sense of the callers: bounded, in order, inside the span, finite, not negative.
fn is_sound(series: &RawSeries) -> bool {
    let inside =
        series.samples.iter().all(|(at, v)| (START..=UNTIL).contains(at) && (0.0..=MAX_COUNT).contains(v));
    inside && series.samples.is_sorted_by(|a, b| a.0 < b.0)
}

proptest! {
    #[test]
    fn any_bytes_are_refused_without_a_panic(body in proptest::collection::vec(any::<u8>(), 0..256)) {
        prop_assert!(parse(&counter(), &body).is_err());
        prop_assert!(parse(&single(), &body).is_err());
    }

    /// A flipped byte either leaves a sound answer (in a label, in a digit) or none.
    #[test]
    fn a_damaged_answer_is_sound_or_none(place in 0..200_usize, byte in any::<u8>(), cut in 0..220_usize) {
        let mut body = matrix(r#"[@-15,"1"],[@,"2"]"#).into_bytes();
        let place = place % body.len();
        body[place] = byte;
        body.truncate(cut.max(1));
        if let Ok(series) = parse(&counter(), &body) {
            prop_assert!(series.len() == 1 && series.iter().all(is_sound));
        }
    }

    #[test]
    fn a_damaged_value_is_finite_or_none(place in 0..200_usize, byte in any::<u8>()) {
        let mut body = vector(r#"{"metric":{"a":"b"},"value":[@,"0.7"]}"#).into_bytes();
        let place = place % body.len();
        body[place] = byte;
        if let Ok(series) = parse(&single(), &body) {
            prop_assert!(matches!(&*series[0].samples, [(at, v)] if v.is_finite() && (at - UNTIL).abs() <= CLOCK_SLACK));
        }
    }

    /// Pieces of the API in any order and nesting: what is accepted is sound.
    #[test]
    fn shuffled_pieces_of_the_api_are_sound_or_no_answer(pieces in proptest::collection::vec(
        prop::sample::select(vec![
            "{", "}", "[", "]", ",", ":", "\"status\":\"success\"", "\"status\":\"error\"", "\"data\":", "\"resultType\":\"matrix\"",
            "\"result\":", "\"metric\":{}", "\"values\":", "\"value\":", "[1700000000,\"1\"]", "[1700000010,\"NaN\"]",
            "\"warnings\":[\"w\"]", "null", "-1", "\"histograms\":[]",
        ]), 0..24)) {
        let body = pieces.concat();
        if let Ok(series) = parse(&counter(), body.as_bytes()) {
            prop_assert!(series.iter().all(is_sound) && !body.contains("warnings") && !body.contains("error"));
        }
    }
}
