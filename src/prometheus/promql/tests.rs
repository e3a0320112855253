use proptest::prelude::*;
use rstest::rstest;

use super::*;
use crate::api::v1alpha1::Ratio;

fn pin(label: &str, values: &[&str]) -> Pin {
    Pin { label: label.to_owned(), values: values.iter().map(|&value| value.to_owned()).collect() }
}

#[rstest]
#[case("feedback_total", "feedback_total{namespace=\"ml\",revision=~\"a|b\"}")]
#[case("feedback_total{}", "feedback_total{namespace=\"ml\",revision=~\"a|b\"}")]
#[case("a:b{x='y\"'}", "a:b{x=\"y\\\"\",namespace=\"ml\",revision=~\"a|b\"}")]
#[case("a{x!~\"\\\\d+\",}", "a{x!~\"\\\\d+\",namespace=\"ml\",revision=~\"a|b\"}")]
#[case("a # b{c", "a{namespace=\"ml\",revision=~\"a|b\"}")]
fn our_matchers_are_added_to_what_was_written(#[case] text: &str, #[case] want: &str) {
    let selector = Selector::of_ratio("ratio.bad", text, "revision").unwrap();
    assert_eq!(selector.pinned(&[pin("namespace", &["ml"]), pin("revision", &["a", "b"])]), want);
}

#[rstest]
#[case::empty("", "does not parse")]
#[case::no_promql("feedback total", "does not parse")]
#[case::unclosed("feedback_total{useful=\"no\"", "does not parse")]
#[case::bad_regex("feedback_total{useful=~\"(\"}", "does not parse")]
#[case::function("rate(feedback_total[5m])", "rate()")]
#[case::increase("increase(feedback_total[5m])", "increase()")]
#[case::sum("sum(feedback_total)", "aggregates")]
#[case::range("feedback_total[5m]", "range")]
#[case::subquery("feedback_total[5m:1m]", "range")]
#[case::offset("feedback_total offset 5m", "`offset`")]
#[case::at("feedback_total @ 1700000000", "`@`")]
#[case::parentheses("(feedback_total)", "parentheses")]
#[case::arithmetic("a - b", "computes")]
#[case::minus("-a", "computes")]
#[case::or("a or b", "computes")]
#[case::number("1", "constant")]
#[case::string("\"a\"", "constant")]
#[case::name_in_braces("{\"a\"}", "does not begin with the name")]
#[case::no_name("{useful=\"no\"}", "does not begin with the name")]
#[case::name_as_matcher("{__name__=\"a\"}", "does not begin with the name")]
#[case::second_name("a{__name__=~\".+\"}", "does not")]
#[case::or_matchers("a{x=\"1\" or y=\"2\"}", "`or`")]
#[case::namespace("a{namespace=\"other\"}", "matches the label namespace")]
#[case::revision("a{revision=~\".*\"}", "matches the label revision")]
#[case::injection("a} or b{", "does not parse")]
fn a_selector_that_has_no_raw_samples_is_refused_with_what_to_write(#[case] text: &str, #[case] why: &str) {
    let refused = Selector::of_ratio("ratio.bad", text, "revision").unwrap_err();
    assert_eq!(refused.field, "ratio.bad");
    assert!(refused.message.contains(why), "{refused}");
    assert!(refused.message.contains("write a counter's name"), "{refused}");
    assert!(refused.to_string().len() < 500, "{refused}");
}

#[test]
fn what_is_longer_than_the_api_allows_is_refused() {
    assert!(Selector::of_ratio("ratio.bad", &"a".repeat(513), "revision").is_err());
    assert!(fill(&"a".repeat(2049), values("r")).is_err());
}

fn values(revision: &str) -> Values<'_> {
    Values { revision, namespace: "ml", service: "iris-1" }
}

#[rstest]
#[case("avg(c{revision=\"$revision\"})", "avg(c{revision=\"iris-1\"})")]
#[case("avg(c{revision='$revision'})", "avg(c{revision='iris-1'})")]
#[case("x{c=\"$namespace_$service_80\"}", "x{c=\"ml_iris-1_80\"}")]
#[case("x{c=\"a\\\"$namespace\"}", "x{c=\"a\\\"ml\"}")]
#[case("x # $revision \"\n", "x # $revision \"\n")]
#[case("x{c=~\"foo$\"}", "x{c=~\"foo$\"}")]
#[case(
    "label_replace(x, \"a\", \"$1\", \"b\", \"(.*)\")",
    "label_replace(x, \"a\", \"$1\", \"b\", \"(.*)\")"
)]
#[case("1", "1")]
#[case("scalar(x)", "scalar(x)")]
#[case(
    "max_over_time(x{n=\"$namespace\"}[5m:1m] offset 1m) > 0",
    "max_over_time(x{n=\"ml\"}[5m:1m] offset 1m) > 0"
)]
fn placeholders_are_filled_inside_quotes_only(#[case] query: &str, #[case] want: &str) {
    assert_eq!(fill(query, values("iris-1")).unwrap(), want);
}

#[rstest]
#[case::outside("avg(c{revision=$revision})", "outside of quotes")]
#[case::metric_name("$revision", "outside of quotes")]
#[case::backticks("x{r=`$revision`}", "backticks")]
#[case::unknown("x{r=\"$revison\"}", "unknown placeholder $revison")]
#[case::unknown_regex("x{r=~\"a|$stable\"}", "unknown placeholder $stable")]
#[case::range("x[5m]", "range of samples")]
#[case::string("\"x\"", "string")]
#[case::empty("", "does not parse")]
#[case::unclosed("x{r=\"$revision}", "does not parse")]
#[case::unknown_function("sums(x)", "does not parse")]
#[case::two("x y", "does not parse")]
fn a_query_that_cannot_give_one_number_is_refused(#[case] query: &str, #[case] why: &str) {
    let refused = fill(query, values("iris-1")).unwrap_err();
    assert_eq!(refused.field, "query");
    assert!(refused.message.contains(why) && refused.message.contains("write PromQL"), "{refused}");
}

#[test]
fn an_slo_is_checked_field_by_field() {
    let slo: Slo = serde_json::from_str(r#"{"name": "a", "objective": "99%", "errors": {}}"#).unwrap();
    check(&slo, "revision").unwrap();
    let ratio = Some(Ratio { bad: "a".to_owned(), total: "rate(a[1m])".to_owned() });
    assert_eq!(check(&Slo { ratio, ..slo.clone() }, "revision").unwrap_err().field, "ratio.total");
    let query = Some("x{r=$revision}".to_owned());
    assert_eq!(check(&Slo { query, ..slo }, "revision").unwrap_err().field, "query");
}

#[test]
fn deep_nesting_is_refused_or_parsed_but_never_ends_the_process() {
    for (open, close) in [("(", ")"), ("-", ""), ("abs(", ")"), ("a+(", ")"), ("sum(", ")"), ("a{b=\"", "")] {
        let depth = (MAX_QUERY - 1) / (open.len() + close.len());
        let query = format!("{}1{}", open.repeat(depth), close.repeat(depth));
        let _ = fill(&query, values("r"));
        let _ = Selector::of_ratio("ratio.bad", &query, "revision");
    }
}

/// Matchers as (label, operator, value).
fn matchers(promql: &str) -> Vec<(String, String, String)> {
    let Expr::VectorSelector(selector) =
        parser::parse(promql).unwrap_or_else(|why| panic!("{why}: {promql}"))
    else {
        panic!("{promql} is no selector");
    };
    assert!(selector.offset.is_none() && selector.at.is_none() && selector.matchers.or_matchers.is_empty());
    let triple = |m: Matcher| (m.name, m.op.to_string(), m.value);
    selector.matchers.matchers.into_iter().map(triple).collect()
}

proptest! {
    #[test]
    fn any_text_stays_one_value_of_one_matcher(namespace in ".*", revision in "\\PC*|(?s).*") {
        let selector = Selector::of_ratio("ratio.bad", "m{a!=\"b\"}", "rev").unwrap();
        let promql = selector.pinned(&[pin("namespace", &[&namespace]), pin("rev", &[&revision])]);
        let own = |a: &str, b: &str, c: &str| (a.to_owned(), b.to_owned(), c.to_owned());
        prop_assert_eq!(
            matchers(&promql),
            [own("a", "!=", "b"), own("namespace", "=", &namespace), own("rev", "=", &revision)]
        );
    }

    #[test]
    fn a_regex_of_two_values_matches_these_two_and_nothing_else(
        one in "(?s).{0,12}", two in "(?s).{0,12}", other in "(?s).{0,12}"
    ) {
        let promql = Selector::parse("m").unwrap().pinned(&[pin("rev", &[&one, &two])]);
        let Expr::VectorSelector(selector) = parser::parse(&promql).unwrap() else { panic!("{promql}") };
        let [matcher] = &*selector.matchers.matchers else { panic!("{promql}") };
        // The parser's own regex lets `.` stop at a newline; escaped literals have no such `.`.
        prop_assert!(matcher.is_match(&one) && matcher.is_match(&two), "{promql}");
        prop_assert_eq!(matcher.is_match(&other), other == one || other == two);
    }

    #[test]
    fn what_users_write_in_matchers_survives_the_way_through_the_parser(value in "(?s).*", name in "[a-z_:][a-z0-9_:]{0,9}") {
        let text = format!("{name}{{l={}}}", quoted(&value));
        prop_assume!(text.len() <= MAX_SELECTOR);
        let Ok(selector) = Selector::of_ratio("ratio.bad", &text, "revision") else {
            return Err(TestCaseError::fail(text));
        };
        prop_assert_eq!(matchers(&selector.pinned(&[]))[0].2.clone(), value);
        prop_assert_eq!(selector.name(), Some(&*name));
    }

    #[test]
    fn any_value_in_a_query_stays_inside_its_string(value in "(?s).{0,40}", single in any::<bool>()) {
        let quote = if single { '\'' } else { '"' };
        let query = format!("m{{a={quote}x$revision{quote},b={quote}y{quote}}}");
        let filled = fill(&query, values(&value)).unwrap();
        let own = |a: &str, c: &str| (a.to_owned(), "=".to_owned(), c.to_owned());
        prop_assert_eq!(matchers(&filled), [own("a", &format!("x{value}")), own("b", "y")]);
    }

    #[test]
    fn arbitrary_text_is_refused_or_accepted_without_a_panic(text in "(?s).{0,64}|[a-z{}()\\[\\]\"'`$#=~!,@:0-9 ]{0,64}") {
        let _ = Selector::of_ratio("ratio.bad", &text, "revision").map(|s| s.pinned(&[pin("n", &["x"])]));
        let _ = fill(&text, values("iris-1"));
    }

    /// Whatever the selector, our matchers are in the result and no other selector is.
    #[test]
    fn an_accepted_selector_cannot_escape_our_matchers(text in "[a-z{}()\"'`#=~!,\\\\ ]{1,32}") {
        if let Ok(selector) = Selector::of_ratio("ratio.bad", &text, "revision") {
            let all = matchers(&selector.pinned(&[pin("namespace", &["ml"]), pin("revision", &["r"])]));
            prop_assert_eq!(all.iter().filter(|m| m.0 == "namespace" && m.1 == "=" && m.2 == "ml").count(), 1);
            prop_assert_eq!(all.iter().filter(|m| m.0 == "revision" && m.1 == "=" && m.2 == "r").count(), 1);
        }
    }
}
