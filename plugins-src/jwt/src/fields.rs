//! Parts of configurations. The plugin oidc has this file too.

use std::collections::BTreeMap;

use crate::claims::SECOND;

/// How long a text may be that is compared with one of a token's,
pub(crate) const MAX_TEXT: usize = 512;
/// and how many there may be in a list.
pub(crate) const MAX_MANY: usize = 32;
/// A day in seconds.
pub(crate) const DAY: u64 = 24 * 3600;

/// Returns why as the error unless it is right.
pub(crate) fn check(right: bool, why: &str) -> Result<(), String> {
    if right { Ok(()) } else { Err(why.into()) }
}

/// Checks how many there are.
pub(crate) fn many(at: &str, n: usize, least: usize) -> Result<(), String> {
    check(
        (least..=MAX_MANY).contains(&n),
        &format!("{at}: {n} of them; want {least} to {MAX_MANY}"),
    )
}

/// Checks each of a list's texts, and that none is there twice.
pub(crate) fn each(
    at: &str,
    list: &[String],
    right: impl Fn(&str) -> bool,
    want: &str,
) -> Result<(), String> {
    for (i, one) in list.iter().enumerate() {
        check(right(one), &format!("{at}[{i}]: {want}"))?;
        check(
            !list[..i].contains(one),
            &format!("{at}[{i}]: it is there twice"),
        )?;
    }
    Ok(())
}

/// Reads a time: a number with s, m, h or d, of a range in seconds.
pub(crate) fn duration(name: &str, text: &str, least: u64, most: u64) -> Result<u64, String> {
    let read = || {
        let (number, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
        let unit = match unit {
            "s" => 1,
            "m" => 60,
            "h" => 3600,
            "d" => DAY,
            _ => return None,
        };
        let plain = number.bytes().all(|b| b.is_ascii_digit())
            && (number == "0" || !number.starts_with('0'));
        let n: u64 = number.parse().ok().filter(|_| plain && text.len() <= 12)?;
        n.checked_mul(unit).filter(|s| (least..=most).contains(s))
    };
    match read() {
        Some(seconds) => Ok(seconds * SECOND),
        None => Err(format!(
            "config.{name}: want a number with s, m, h or d: {least}s to {most}s"
        )),
    }
}

/// Reads which claims go into which header fields.
pub(crate) fn headers(all: BTreeMap<String, String>) -> Result<Vec<(String, String)>, String> {
    check(
        all.len() <= MAX_MANY,
        &format!("config.claimsToHeaders: more than {MAX_MANY}"),
    )?;
    let mut headers: Vec<(String, String)> = Vec::new();
    for (claim, name) in all {
        let at = format!("config.claimsToHeaders.{claim}");
        path(&at, &claim)?;
        let right = (1..=256).contains(&name.len()) && name.bytes().all(token);
        check(
            right,
            &format!("{at}: want a field's name of 1 to 256 bytes (RFC 9110, 5.1)"),
        )?;
        const OTHERS: [&str; 10] = [
            "host",
            "content-length",
            "transfer-encoding",
            "connection",
            "te",
            "trailer",
            "upgrade",
            "keep-alive",
            "expect",
            "authorization",
        ];
        let own = OTHERS.iter().any(|o| name.eq_ignore_ascii_case(o));
        check(!own, &format!("{at}: that field is not for claims"))?;
        let twice = headers.iter().any(|h| h.1.eq_ignore_ascii_case(&name));
        check(!twice, &format!("{at}: another claim goes into that field"))?;
        headers.push((claim, name));
    }
    Ok(headers)
}

/// Checks the name of a claim.
pub(crate) fn path(at: &str, claim: &str) -> Result<(), String> {
    let right = (1..=256).contains(&claim.len()) && !claim.chars().any(char::is_control);
    check(
        right,
        &format!("{at}: want a claim's name of 1 to 256 bytes"),
    )
}

/// Says whether a byte can be part of a token (RFC 9110, 5.6.2).
pub(crate) fn token(b: u8) -> bool {
    b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b)
}
