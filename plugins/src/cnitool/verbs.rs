//! The verbs: which plugin is called in which order with which result, and what is kept.

use fairlead_protocol::{CniError, CniResult, Code, Command, Version, gojson};
use serde_json::Value;

use super::cache::Cache;
use super::call::Attachment;
use super::config::{NetworkList, PluginConfig};
use super::{exec, request};

/// Where plugins and kept results are.
pub struct Runtime<'a> {
    /// `CNI_PATH`.
    pub path: &'a str,
    pub cache: Cache<'a>,
    /// The name of a signal that wants us to end, if one came.
    pub interrupted: &'a dyn Fn() -> Option<&'static str>,
}

impl Runtime<'_> {
    /// Calls the plugins in the order of the list, each with the result of the one before, and keeps the last result.
    /// Returns it as text, in the version that the last plugin spoke. Errors: the first plugin's; then nothing is kept,
    /// and nothing is taken back, because the attachment may be an older one that this ADD ran into.
    pub fn add(&self, list: &NetworkList, attachment: &Attachment) -> Result<String, CniError> {
        refuse_bare_name(attachment)?;
        self.cache.prepare()?;
        let mut last: Option<(CniResult, Version)> = None;
        for plugin in &list.plugins {
            let prev_result = last.as_ref().map(|(result, version)| result.to_value(*version)).transpose()?;
            let added = self.add_one(list, plugin, prev_result, attachment);
            last = Some(added.map_err(|error| self.explain_failed_add(list, plugin, attachment, error))?);
            if let Some(signal) = (self.interrupted)() {
                let so_far = last.as_ref().and_then(|(result, version)| result.to_value(*version).ok());
                return Err(self.take_back(
                    list,
                    attachment,
                    so_far,
                    CniError::internal(format!("stopped by {signal}")),
                ));
            }
        }
        let (result, version) =
            last.ok_or_else(|| CniError::config(format!("network {:?} has no plugins", list.name)))?;
        let text = result.to_json(version)?;
        self.cache
            .keep(list, attachment, result.to_value(version)?)
            .map_err(|error| self.take_back(list, attachment, result.to_value(version).ok(), error))?;
        Ok(text)
    }

    /// Every plugin so far made its part just now, so it is ours to remove; without a file in the cache nobody would know
    /// of it.
    fn take_back(
        &self,
        list: &NetworkList,
        attachment: &Attachment,
        result: Option<Value>,
        error: CniError,
    ) -> CniError {
        match self.del_chain(list, attachment, result) {
            Ok(()) => error.with_details("the attachment was removed again"),
            Err(undo) => error.with_details(format!("and the attachment could not be removed again: {undo}")),
        }
    }

    fn add_one(
        &self,
        list: &NetworkList,
        plugin: &PluginConfig,
        prev_result: Option<Value>,
        attachment: &Attachment,
    ) -> Result<(CniResult, Version), CniError> {
        let stdin = request::for_attachment(list, plugin, prev_result, &attachment.capabilities);
        let printed = exec::run(self.path, &plugin.kind, Command::Add, attachment, &stdin)?;
        gojson::parse(&printed)
            .and_then(|value| CniResult::from_value(&value, &list.version))
            .map_err(|reason| CniError::new(Code::Decode, format!("its result cannot be read: {reason}")))
    }

    fn explain_failed_add(
        &self,
        list: &NetworkList,
        plugin: &PluginConfig,
        attachment: &Attachment,
        error: CniError,
    ) -> CniError {
        let del = format!("`cnitool del {} {}`", list.name, attachment.netns);
        let kept = self.cache.file(&list.name, attachment);
        let hint = if kept.exists() {
            format!("ADD failed. An earlier one succeeded ({}): {del} removes it", kept.display())
        } else {
            format!("ADD failed. If plugins before this one left something behind, {del} removes it")
        };
        let CniError { code, mut msg, mut details } = named(plugin, "add", error);
        let end = if details.is_empty() { &mut msg } else { &mut details };
        *end = format!("{end}\n{hint}");
        CniError::new(code, msg).with_details(details)
    }

    /// Calls the plugins in the order of the list, each with the result that was kept. Errors: the first plugin's.
    pub fn check(&self, list: &NetworkList, attachment: &Attachment) -> Result<(), CniError> {
        refuse_bare_name(attachment)?;
        if !list.is_at_least(Version::V0_4_0)? {
            let text = format!("configuration version {:?} does not support the CHECK command", list.version);
            return Err(CniError::new(Code::IncompatibleVersion, text));
        }
        if list.disable_check {
            crate::complain(format_args!("network {:?} has disableCheck: nothing was checked", list.name));
            return Ok(());
        }
        let result = self.cache.result(list, attachment)?;
        for plugin in &list.plugins {
            let stdin = request::for_attachment(list, plugin, result.clone(), &attachment.capabilities);
            exec::run(self.path, &plugin.kind, Command::Check, attachment, &stdin)?;
        }
        Ok(())
    }

    /// Calls the plugins in reverse order, each with the result that was kept, and forgets it. Errors: the first
    /// plugin's; then it stays kept, for the next try.
    pub fn del(&self, list: &NetworkList, attachment: &Attachment) -> Result<(), CniError> {
        let result = if list.is_at_least(Version::V0_4_0)? {
            self.cache.result(list, attachment).unwrap_or_else(|error| {
                crate::complain(format_args!("{error}; going on without it"));
                None
            })
        } else {
            None
        };
        self.del_chain(list, attachment, result)?;
        self.cache.forget(&list.name, attachment)
    }

    fn del_chain(&self, list: &NetworkList, attachment: &Attachment, result: Option<Value>) -> Result<(), CniError> {
        for plugin in list.plugins.iter().rev() {
            let stdin = request::for_attachment(list, plugin, result.clone(), &attachment.capabilities);
            exec::run(self.path, &plugin.kind, Command::Del, attachment, &stdin)
                .map_err(|error| named(plugin, "delete", error))?;
        }
        Ok(())
    }

    /// Removes every attachment that is kept, then tells every plugin to clean up. Errors: all of them, a line each.
    pub fn gc(&self, list: &NetworkList) -> Result<(), CniError> {
        if list.disable_gc {
            crate::complain(format_args!("network {:?} has disableGC: nothing was removed", list.name));
            return Ok(());
        }
        let mut errors = Vec::new();
        for attachment in self.cache.attachments(&list.name)? {
            if let Err(error) = self.del(list, &attachment) {
                let Attachment { container_id, ifname, .. } = &attachment;
                errors.push(format!("failed to delete stale attachment {container_id} {ifname}: {error}"));
            }
        }
        if list.is_at_least(Version::V1_1_0)? {
            for plugin in &list.plugins {
                let stdin = request::for_network(list, plugin);
                if let Err(error) = exec::run(self.path, &plugin.kind, Command::Gc, &Attachment::default(), &stdin) {
                    errors.push(format!("failed to GC plugin {}: {error}", plugin.kind));
                }
            }
        }
        if errors.is_empty() { Ok(()) } else { Err(CniError::internal(errors.join("\n"))) }
    }

    /// Asks every plugin. Errors: the first plugin's.
    pub fn status(&self, list: &NetworkList) -> Result<(), CniError> {
        if !list.is_at_least(Version::V1_1_0)? {
            crate::complain(format_args!(
                "network {:?} has version {:?}, and STATUS came with 1.1.0: nobody was asked",
                list.name, list.version
            ));
            return Ok(());
        }
        for plugin in &list.plugins {
            let stdin = request::for_network(list, plugin);
            exec::run(self.path, &plugin.kind, Command::Status, &Attachment::default(), &stdin)?;
        }
        Ok(())
    }
}

/// The reference's words: `plugin type="bridge" failed (add): …`.
fn named(plugin: &PluginConfig, verb: &str, error: CniError) -> CniError {
    let name = if plugin.name.is_empty() { String::new() } else { format!(" name={:?}", plugin.name) };
    error.context(format!("plugin type={:?}{name} failed ({verb})", plugin.kind))
}

/// `cnitool add net blue` means `/run/netns/blue` when there is no `blue` here; a plugin could only say that the path
/// made from it does not exist.
fn refuse_bare_name(attachment: &Attachment) -> Result<(), CniError> {
    let path = std::path::Path::new(&attachment.netns);
    let Some(name) = path.file_name().filter(|_| !path.exists()) else { return Ok(()) };
    let meant = std::path::Path::new("/run/netns").join(name);
    if !meant.exists() {
        return Ok(());
    }
    let text = format!("the network namespace {:?} does not exist", attachment.netns);
    Err(CniError::new(Code::InvalidNetns, text).with_details(format!("give its path: {}", meant.display())))
}

#[cfg(test)]
mod tests;
