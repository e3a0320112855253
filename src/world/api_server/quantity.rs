//! Quantities as Kubernetes writes them: `0.5` is `500m`, `1024Mi` is `1Gi`.

use serde_json::Value;

/// The canonical form; `None`: it is no quantity, or longer than anybody writes.
pub(super) fn canonical(value: &Value) -> Option<String> {
    let text = match value {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        _ => return None,
    };
    let end = text.find(|c: char| !c.is_ascii_digit() && !matches!(c, '.' | '+' | '-')).unwrap_or(text.len());
    let (number, suffix) = text.split_at(end);
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if number.is_empty() || fraction.len() > 12 || whole.len() > 18 {
        return None;
    }
    let digits: i128 = format!("{whole}{fraction}").parse().ok()?;
    let places = u32::try_from(fraction.len()).ok()?;
    if let Some(power) = BINARY.iter().position(|s| *s == suffix) {
        let power = u32::try_from(power).ok()? + 1;
        let nanos =
            digits.checked_mul(1_i128 << (10 * power))?.checked_mul(10_i128.pow(9))? / 10_i128.pow(places);
        return Some(binary(nanos).unwrap_or_else(|| decimal(nanos)));
    }
    let exponent = match DECIMAL.iter().find(|(s, _)| *s == suffix) {
        Some((_, exponent)) => *exponent,
        None => suffix.strip_prefix(['e', 'E'])?.parse().ok().filter(|e: &i32| e.abs() <= 18)?,
    };
    let shift = exponent + 9 - i32::try_from(places).ok()?;
    let ten = 10_i128.checked_pow(shift.unsigned_abs())?;
    let nanos =
        if shift >= 0 { digits.checked_mul(ten)? } else { digits / ten + i128::from(digits % ten > 0) };
    Some(decimal(nanos))
}

const BINARY: [&str; 6] = ["Ki", "Mi", "Gi", "Ti", "Pi", "Ei"];
const DECIMAL: [(&str, i32); 10] =
    [("n", -9), ("u", -6), ("m", -3), ("", 0), ("k", 3), ("M", 6), ("G", 9), ("T", 12), ("P", 15), ("E", 18)];

/// With the largest binary suffix that leaves no fraction.
fn binary(nanos: i128) -> Option<String> {
    let one = 10_i128.pow(9);
    if nanos % one != 0 || nanos == 0 {
        return None;
    }
    let whole = nanos / one;
    let fits = |power: &usize| whole % (1_i128 << (10 * power)) == 0;
    let power = (1..=6).rev().find(fits);
    Some(power.map_or_else(|| whole.to_string(), |p| format!("{}{}", whole >> (10 * p), BINARY[p - 1])))
}

/// With the largest decimal suffix that leaves no fraction.
fn decimal(nanos: i128) -> String {
    if nanos == 0 {
        return "0".to_owned();
    }
    let fits = |(_, exponent): &&(&str, i32)| nanos % 10_i128.pow((exponent + 9).unsigned_abs()) == 0;
    let (suffix, exponent) = DECIMAL.iter().rev().find(fits).copied().unwrap_or(("n", -9));
    format!("{}{suffix}", nanos / 10_i128.pow((exponent + 9).unsigned_abs()))
}
