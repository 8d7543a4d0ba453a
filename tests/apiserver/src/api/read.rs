//! Getting and listing objects, in pages and in the form that the client asked for.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Value, json};

use super::{Api, Target};
use crate::{refusal::Refusal, selector::Selector, store::ObjectName};

/// What a list shows.
#[derive(Debug, Clone, Default)]
pub(crate) struct ListOptions {
    pub(crate) selector: Selector,
    /// The most items of a page; 0 for all.
    pub(crate) limit: usize,
    pub(crate) continue_token: Option<String>,
    /// The revision that the list must at least, or with `is_exact` just, be of.
    pub(crate) resource_version: Option<u64>,
    pub(crate) is_exact: bool,
}

impl Api {
    pub(crate) fn get(&self, target: &Target, name: &str) -> Result<Value, Refusal> {
        let object = self.current(target, name)?;
        Ok(in_version(&object, target))
    }

    /// Lists the objects of a kind; pages after the first are of the first's revision.
    pub(crate) fn list(&self, target: &Target, options: &ListOptions) -> Result<Value, Refusal> {
        let mut revision = self.store.revision();
        let mut after = None;
        if let Some(asked) = options.resource_version
            && options.is_exact
            && asked < self.store.floor()
        {
            return Err(Refusal::expired(asked, self.store.floor()));
        }
        if let Some(token) = &options.continue_token {
            let (of, name) = read_token(token)
                .ok_or_else(|| Refusal::bad_request("continue key is not valid"))?;
            if of < self.store.floor() {
                return Err(Refusal::continue_expired());
            }
            revision = of;
            after = Some(name);
        }
        let all = self
            .store
            .list(&target.kind.resource, target.namespace.as_deref())
            .filter(|(name, _)| {
                let place = (name.namespace.as_str(), name.name.as_str());
                after
                    .as_ref()
                    .is_none_or(|(ns, n)| place > (ns.as_str(), n.as_str()))
            })
            .filter(|(_, object)| options.selector.matches(object));
        let limit = if options.limit == 0 {
            usize::MAX
        } else {
            options.limit
        };
        let mut items = Vec::new();
        let mut last: Option<&ObjectName> = None;
        let mut remaining = 0_usize;
        for (name, object) in all {
            if items.len() < limit {
                items.push(in_version(object, target));
                last = Some(name);
            } else {
                remaining += 1;
            }
        }
        let mut metadata = json!({"resourceVersion": revision.to_string()});
        if let Some(last) = last.filter(|_| remaining > 0) {
            metadata["continue"] = json!(token(revision, last));
            metadata["remainingItemCount"] = json!(remaining);
        }
        Ok(json!({"kind": format!("{}List", target.kind.kind),
            "apiVersion": target.kind.api_version(&target.version), "metadata": metadata, "items": items}))
    }
}

/// An object in the version that was asked for.
pub(crate) fn in_version(object: &Value, target: &Target) -> Value {
    let mut object = object.clone();
    object["apiVersion"] = json!(target.kind.api_version(&target.version));
    object
}

fn token(revision: u64, last: &ObjectName) -> String {
    let text = json!([revision, last.namespace, last.name]).to_string();
    URL_SAFE_NO_PAD.encode(text)
}

fn read_token(token: &str) -> Option<(u64, (String, String))> {
    let bytes = URL_SAFE_NO_PAD.decode(token).ok()?;
    let (revision, namespace, name) = serde_json::from_slice(&bytes).ok()?;
    Some((revision, (namespace, name)))
}
