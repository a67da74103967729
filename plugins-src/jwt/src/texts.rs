//! A setting that jwt and oidc have.

use penstock::{self as sdk, Json, Setting};

/// One text or a list of them.
#[derive(Default)]
pub(crate) struct Texts(pub(crate) Vec<String>);

impl Setting for Texts {
    fn read(&mut self, value: &Json, at: &mut sdk::Place) {
        match value {
            Json::Text(text) => self.0 = vec![text.clone()],
            Json::List(_) => self.0.read(value, at),
            other => at.want("a text or a list of them", other),
        }
    }
}
