//! A setting of plugins that find Consumers.

use std::error::Error;

use penstock as sdk;

/// Returns the namespaces whose Consumers are asked beside the plugin's own.
pub(crate) fn namespaces(all: Vec<String>) -> Result<Vec<String>, Box<dyn Error>> {
    if all.len() > sdk::MAX_CONSUMER_NAMESPACES {
        let most = sdk::MAX_CONSUMER_NAMESPACES;
        return Err(format!("config.consumers.namespaces: more than {most}").into());
    }
    for (i, n) in all.iter().enumerate() {
        let label = |b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-');
        let at = format!("config.consumers.namespaces[{i}]");
        if n.is_empty() || n.len() > 63 || !n.bytes().all(label) {
            return Err(format!("{at}: want the name of a namespace").into());
        }
        if all[..i].contains(n) {
            return Err(format!("{at}: the same namespace twice").into());
        }
    }
    Ok(all)
}
