//! Accept-Encoding (RFC 9110, 12.5.3).

/// A coding that responses can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Coding {
    Zstd,
    Br,
    Gzip,
}

pub const ALL: [Coding; 3] = [Coding::Zstd, Coding::Br, Coding::Gzip];

impl Coding {
    /// Returns its name in Content-Encoding.
    pub fn name(self) -> &'static str {
        match self {
            Coding::Zstd => "zstd",
            Coding::Br => "br",
            Coding::Gzip => "gzip",
        }
    }

    /// Returns the coding with a name, whatever its case.
    pub fn of(name: &[u8]) -> Option<Coding> {
        if name.eq_ignore_ascii_case(b"x-gzip") {
            return Some(Coding::Gzip);
        }
        ALL.into_iter()
            .find(|c| name.eq_ignore_ascii_case(c.name().as_bytes()))
    }
}

/// Returns the coding that a client likes best, of several the first one in ours; None: it
/// takes none of them, or rather has what is not encoded.
pub fn choose(field: &[u8], ours: &[Coding]) -> Option<Coding> {
    let mut listed = [None; 3]; // weights by coding, in thousandths
    let (mut other, mut identity) = (None, None);
    for part in field.split(|b| *b == b',') {
        let (name, weight) = weighed(part)?;
        match Coding::of(name) {
            Some(c) => listed[c as usize] = Some(weight),
            None if name == b"*" => other = Some(weight),
            None if name.eq_ignore_ascii_case(b"identity") => identity = Some(weight),
            None => {}
        }
    }
    let mut best: Option<(Coding, u16)> = None;
    for &c in ours {
        let weight = listed[c as usize].or(other).unwrap_or(0);
        if weight > best.map_or(0, |(_, w)| w) {
            best = Some((c, weight));
        }
    }
    // Without a weight of its own identity is what there is when nothing else can be had.
    best.filter(|(_, w)| identity.is_none_or(|i| *w >= i))
        .map(|(c, _)| c)
}

/// Splits "name;q=0.5"; None: it is malformed, and so the whole field not to be relied on. An
/// empty element is one without a name (RFC 9110, 5.6.1).
fn weighed(part: &[u8]) -> Option<(&[u8], u16)> {
    let mut pieces = part.splitn(2, |b| *b == b';');
    let name = pieces.next().unwrap_or_default().trim_ascii();
    let Some(weight) = pieces.next() else {
        return Some((name, 1000));
    };
    let weight = weight.trim_ascii();
    match weight {
        [b'q' | b'Q', b'=', value @ ..] => Some((name, thousandths(value)?)),
        _ => None,
    }
}

/// Reads a weight (RFC 9110, 12.4.2).
fn thousandths(value: &[u8]) -> Option<u16> {
    let (whole, rest) = value.split_first()?;
    let digits = match rest {
        [] => rest,
        [b'.', digits @ ..] => digits,
        _ => return None,
    };
    if !(b'0'..=b'1').contains(whole) || digits.len() > 3 || !digits.iter().all(u8::is_ascii_digit)
    {
        return None;
    }
    let mut n = u16::from(whole - b'0');
    for i in 0..3 {
        n = n * 10 + digits.get(i).map_or(0, |d| u16::from(d - b'0'));
    }
    (n <= 1000).then_some(n)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_is_chosen() {
        let (zstd, br, gzip) = (Some(Coding::Zstd), Some(Coding::Br), Some(Coding::Gzip));
        for (field, want) in [
            ("", None),
            ("gzip", gzip),
            ("GZip", gzip),
            ("x-gzip", gzip),
            ("deflate", None),
            ("gzip, deflate, br, zstd", zstd),
            ("gzip, deflate, br", br),
            ("*", zstd),
            ("*;q=0.5, gzip", gzip),
            ("gzip;q=0", None),
            ("gzip;q=0, *", zstd),
            ("zstd;q=0,br;q=0,*;q=0.1", gzip),
            ("*;q=0", None),
            ("*;q=0, gzip;q=0.001", gzip),
            ("br;q=0.9, gzip;q=1.0, zstd;q=0.8", gzip),
            ("gzip;q=0.5, identity", None),
            ("gzip;q=0.5, identity;q=0.5", gzip),
            ("gzip;q=0.5, identity;q=0", gzip),
            ("identity;q=0", None),
            ("identity", None),
            (" gzip ; q=0.5 ,, ", gzip),
            ("gzip;q=0.5\t", gzip),
            ("gzip;Q=1", gzip),
            ("gzip;q=1.5", None),
            ("gzip;q=-1", None),
            ("gzip;q=0.1234", None),
            ("gzip;q=", None),
            ("gzip;x=1", None),
            ("gzip;q=0.5;x", None),
            ("br;q=x, gzip", None),
            ("gzipped", None),
            ("\u{ff}, br", br),
        ] {
            assert_eq!(choose(field.as_bytes(), &ALL), want, "{field:?}");
        }
        let ours = [Coding::Gzip, Coding::Zstd];
        assert_eq!(choose(b"zstd, br, gzip", &ours), gzip);
        assert_eq!(choose(b"zstd, br, gzip;q=0.9", &ours), zstd);
        assert_eq!(choose(b"br", &ours), None);
    }

    /// What is chosen is named by the field, or by a * in it, and never with q=0.
    #[test]
    fn nothing_is_chosen_that_is_not_taken() {
        let names = ["zstd", "br", "gzip", "*", "identity", "x"];
        let weights = ["", ";q=0", ";q=0.5", ";q=1", ";q=2"];
        let all: Vec<String> = names
            .iter()
            .flat_map(|n| weights.iter().map(move |w| format!("{n}{w}")))
            .collect();
        for a in &all {
            for b in &all {
                let field = format!("{a}, {b}");
                let Some(c) = choose(field.as_bytes(), &ALL) else {
                    continue;
                };
                let own = field
                    .split(", ")
                    .filter(|p| p.split(';').next() == Some(c.name()))
                    .last();
                let taken = own.or(field.split(", ").filter(|p| p.starts_with('*')).last());
                assert!(taken.is_some_and(|p| !p.ends_with("q=0")), "{field}: {c:?}");
            }
        }
    }
}
