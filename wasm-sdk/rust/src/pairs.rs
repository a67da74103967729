//! Lists of names and values, as Proxy-Wasm has them.

use crate::Bytes;
use crate::wire::read_u32;

/// Appends a list: count, sizes, then each name and value followed by a NUL;
/// of an empty one nothing.
pub(crate) fn append_pairs<K: AsRef<[u8]>, V: AsRef<[u8]>>(dst: &mut Vec<u8>, pairs: &[(K, V)]) {
    if pairs.is_empty() {
        return;
    }
    dst.extend((pairs.len() as u32).to_le_bytes());
    for (name, value) in pairs {
        dst.extend((name.as_ref().len() as u32).to_le_bytes());
        dst.extend((value.as_ref().len() as u32).to_le_bytes());
    }
    for (name, value) in pairs {
        dst.extend_from_slice(name.as_ref());
        dst.push(0);
        dst.extend_from_slice(value.as_ref());
        dst.push(0);
    }
}

/// A list of names and values that the proxy returned, in its order. They stay
/// until they are dropped, as Bytes.
#[derive(Debug, Default)]
pub struct Pairs {
    bytes: Bytes,
    n: usize,
}

impl Pairs {
    /// The inverse of append_pairs; None: the bytes are no list.
    pub(crate) fn read(bytes: Bytes) -> Option<Pairs> {
        if bytes.is_empty() {
            return Some(Pairs::default());
        }
        let n = read_u32(&bytes, 0)? as usize;
        let sizes = bytes.get(4..n.checked_mul(8)?.checked_add(4)?)?;
        let mut end = 4 + sizes.len();
        for i in 0..2 * n {
            end = end
                .checked_add(read_u32(sizes, 4 * i)? as usize)?
                .checked_add(1)?;
        }
        if end > bytes.len() {
            return None;
        }
        Some(Pairs { bytes, n })
    }

    /// Returns how many there are.
    pub fn len(&self) -> usize {
        self.n
    }

    /// Says that there are none.
    pub fn is_empty(&self) -> bool {
        self.n == 0
    }

    /// Returns the first value of that name, in upper and lower case alike.
    pub fn get(&self, name: &str) -> Option<&[u8]> {
        self.iter()
            .find(|p| p.0.eq_ignore_ascii_case(name.as_bytes()))
            .map(|p| p.1)
    }

    /// Returns them one by one.
    pub fn iter(&self) -> PairsIter<'_> {
        PairsIter {
            pairs: self,
            i: 0,
            at: 4 + 8 * self.n,
        }
    }
}

impl<'a> IntoIterator for &'a Pairs {
    type Item = (&'a [u8], &'a [u8]);
    type IntoIter = PairsIter<'a>;

    fn into_iter(self) -> PairsIter<'a> {
        self.iter()
    }
}

/// Goes through Pairs.
#[derive(Clone, Debug)]
pub struct PairsIter<'a> {
    pairs: &'a Pairs,
    i: usize,
    at: usize,
}

impl<'a> PairsIter<'a> {
    /// Returns what is next, of the size that stands at a place.
    fn take(&mut self, size: usize) -> Option<&'a [u8]> {
        let size = read_u32(&self.pairs.bytes, size)? as usize;
        let taken = self.pairs.bytes.get(self.at..self.at + size)?;
        self.at += size + 1;
        Some(taken)
    }
}

impl<'a> Iterator for PairsIter<'a> {
    type Item = (&'a [u8], &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        if self.i == self.pairs.n {
            return None;
        }
        let sizes = 4 + 8 * self.i;
        self.i += 1;
        Some((self.take(sizes)?, self.take(sizes + 4)?))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = self.pairs.n - self.i;
        (left, Some(left))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::of;

    #[test]
    fn what_is_written_is_read() {
        for list in [
            &[][..],
            &[("", "")],
            &[("a", "1"), ("b", "22")],
            &[(":path", "/"), ("x-\0", "\0"), ("a", "")],
        ] {
            let mut b = Vec::new();
            append_pairs(&mut b, list);
            let pairs = Pairs::read(of(&b)).unwrap();
            let got: Vec<_> = pairs.iter().collect();
            let want: Vec<_> = list
                .iter()
                .map(|p| (p.0.as_bytes(), p.1.as_bytes()))
                .collect();
            assert_eq!(got, want);
            assert_eq!(
                (pairs.len(), pairs.is_empty()),
                (list.len(), list.is_empty())
            );
        }
        let mut b = Vec::new();
        append_pairs(&mut b, &[("a", "1"), ("b", "22")]);
        assert_eq!(
            b,
            b"\x02\0\0\0\x01\0\0\0\x01\0\0\0\x01\0\0\0\x02\0\0\0a\x001\0b\x0022\0"
        );
        let pairs = Pairs::read(of(&b)).unwrap();
        assert_eq!((pairs.get("B"), pairs.get("c")), (Some(&b"22"[..]), None));
    }

    /// A host's lists, whatever they say: nothing panics, and what is read lies within.
    #[test]
    fn any_bytes_are_read() {
        let mut seeds = vec![vec![1, 0, 0, 0], vec![0; 4], vec![0xff; 40]];
        let mut list = Vec::new();
        append_pairs(&mut list, &[("name", "value"), ("", "x"), ("yy", "")]);
        seeds.push(list);
        for seed in seeds {
            for cut in 0..=seed.len() {
                check(&seed[..cut]);
            }
            for at in 0..seed.len() {
                for byte in [0, 1, 3, 0x7f, 0x80, 0xff] {
                    let mut b = seed.clone();
                    b[at] = byte;
                    check(&b);
                }
            }
        }
        assert!(Pairs::read(of(b"\x01\0\0")).is_none());
        assert!(Pairs::read(of(b"\x01\0\0\0\xff\xff\xff\xff\x01\0\0\0a\0b\0")).is_none());
        assert!(Pairs::read(of(&[0xff; 4])).is_none());
    }

    fn check(b: &[u8]) {
        if let Some(pairs) = Pairs::read(of(b)) {
            let size: usize = pairs.iter().map(|p| p.0.len() + p.1.len() + 2).sum();
            assert_eq!(pairs.iter().count(), pairs.len());
            assert!(pairs.is_empty() || 4 + 8 * pairs.len() + size <= b.len());
        }
    }
}
