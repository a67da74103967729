//! Bytes that nobody can guess.

use crate::encode::base64url;

/// How many bytes a secret of a login has.
const SECRET: usize = 32;

#[cfg(target_arch = "wasm32")]
#[link(wasm_import_module = "wasi_snapshot_preview1")]
unsafe extern "C" {
    /// The proxy's own generator. The block is lent for the call, and is written to alone.
    safe fn random_get(p: *mut u8, n: usize) -> u32;
}

/// Returns a secret of 256 bits as base64url. It traps, which denies, if there is none.
pub(crate) fn secret() -> String {
    let mut bytes = [0; SECRET];
    fill(&mut bytes);
    base64url(&bytes)
}

#[cfg(target_arch = "wasm32")]
fn fill(bytes: &mut [u8]) {
    let errno = random_get(bytes.as_mut_ptr(), bytes.len());
    assert!(errno == 0, "no random bytes: errno {errno}");
}

#[cfg(not(target_arch = "wasm32"))]
fn fill(bytes: &mut [u8]) {
    use std::io::Read;
    let read = std::fs::File::open("/dev/urandom").and_then(|mut f| f.read_exact(bytes));
    read.expect("no random bytes");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_are_alike() {
        let all: std::collections::HashSet<String> = (0..1000).map(|_| secret()).collect();
        assert!(all.len() == 1000 && all.iter().all(|s| s.len() == 43));
    }
}
