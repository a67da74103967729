//! Texts and times as the bytes that are sealed.

/// Appends a time in seconds.
pub(crate) fn put_time(to: &mut Vec<u8>, seconds: u64) {
    to.extend_from_slice(&seconds.to_le_bytes());
}

/// Appends a text with its length before it.
pub(crate) fn put_text(to: &mut Vec<u8>, text: &str) {
    to.extend_from_slice(&(text.len() as u32).to_le_bytes());
    to.extend_from_slice(text.as_bytes());
}

/// Reads what the functions above have written.
pub(crate) struct Reader<'a>(pub(crate) &'a [u8]);

impl Reader<'_> {
    /// Takes a version, which has to be this one.
    pub(crate) fn version(&mut self, want: u8) -> Option<()> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        (*first == want).then_some(())
    }

    pub(crate) fn time(&mut self) -> Option<u64> {
        let (n, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(u64::from_le_bytes(*n))
    }

    pub(crate) fn text(&mut self) -> Option<String> {
        let (n, rest) = self.0.split_first_chunk()?;
        let (text, rest) = rest.split_at_checked(u32::from_le_bytes(*n) as usize)?;
        self.0 = rest;
        String::from_utf8(text.to_vec()).ok()
    }

    /// Says that nothing follows.
    pub(crate) fn end(&self) -> Option<()> {
        self.0.is_empty().then_some(())
    }
}
