//! `flannel`: hands on to another plugin (`bridge`) what the overlay's agent knows of this node.

pub(crate) mod config;
mod plan;
mod saved;
pub(crate) mod subnet_env;

use fairlead_protocol::{CniError, CniResult, Code, Plugin, Request, delegate, gojson};
use serde_json::Value;

use crate::container::all_well;
use crate::state;
use config::Config;
use saved::{Place, with_config};
use subnet_env::SubnetEnv;

/// What a runtime says of living attachments; the delegate needs it too.
const VALID: [&str; 2] = ["cni.dev/valid-attachments", "cni.dev/attachments"];

/// The plugin.
pub struct Flannel;

impl Plugin for Flannel {
    fn name(&self) -> &'static str {
        "flannel"
    }

    fn add(&self, request: &Request) -> Result<CniResult, CniError> {
        let config = Config::load(request)?;
        let env = SubnetEnv::load(&config.subnet_file)?;
        let (kind, told) = told(request, &config, Some(&env))?;
        delegate::find_in_path(&kind, &request.path).map_err(|error| error.context("failed to delegate add"))?;
        let place = Place::new(&config.data_dir);
        let file = place.save(request, &told.config)?;
        delegate::add(&kind, &told).map_err(|error| {
            // What could not be taken back is for the runtime's DEL, which needs the file.
            let undone = delegate::del(&kind, &told).and_then(|()| place.remove(&file));
            let error = error.context("failed to delegate add");
            match undone {
                Ok(()) => error,
                Err(undo) => error.with_details(format!("and taking it back failed: {undo}")),
            }
        })
    }

    /// The delegate's, with what it was made from.
    fn check(&self, request: &Request) -> Result<(), CniError> {
        let config = Config::load(request)?;
        let saved = Place::new(&config.data_dir).find(request);
        if let Some((kind, told)) = saved.and_then(|saved| delegated(&saved, request)) {
            return delegate::check(&kind, &told);
        }
        let env = SubnetEnv::load(&config.subnet_file)?;
        let (kind, mut told) = told(request, &config, Some(&env))?;
        if let Some(object) = told.config.as_object_mut() {
            gojson::replace(object, "prevResult", gojson::lookup(&request.config, "prevResult").cloned());
        }
        delegate::check(&kind, &with_config(request, told.config))
    }

    fn del(&self, request: &Request) -> Result<(), CniError> {
        let place = Config::lenient_data_dir(request).map(|directory| Place::new(&directory));
        let saved = place.as_ref().and_then(|place| place.find(request));
        if let Some((kind, told)) = saved.as_ref().and_then(|saved| delegated(saved, request)) {
            delegate::del(&kind, &told)?;
        } else {
            // Nothing is known of what was made, if anything was: what can be found by its name goes. The namespace may be
            // another container's by now.
            let nowhere = Request { netns: String::new(), ..request.clone() };
            let told = Config::load(&nowhere).and_then(|config| told(&nowhere, &config, None));
            let _ = told.and_then(|(kind, told)| delegate::del(&kind, &told));
        }
        match (place, saved) {
            // A file that stays is found to be done again, and harms nobody.
            (Some(place), Some(saved)) => place.remove(&saved.file).or(Ok(())),
            _ => Ok(()),
        }
    }

    fn gc(&self, request: &Request) -> Result<(), CniError> {
        let Some(valid) = request.valid_attachments()? else { return Ok(()) };
        let mut troubles = Vec::new();
        let handed_on = Config::load(request).and_then(|config| {
            let env = SubnetEnv::load(&config.subnet_file).ok();
            let (kind, mut told) = told(request, &config, env.as_ref())?;
            if let Some(object) = told.config.as_object_mut() {
                for key in VALID {
                    gojson::replace(object, key, gojson::lookup(&request.config, key).cloned());
                }
            }
            delegate::gc(&kind, &with_config(request, told.config))
        });
        troubles.extend(handed_on.err().map(|error| error.to_string()));
        if let Some(directory) = Config::lenient_data_dir(request) {
            troubles.extend(Place::new(&directory).collect(&request.name, &valid));
        }
        all_well(troubles)
    }

    fn status(&self, request: &Request) -> Result<(), CniError> {
        let config = Config::load(request)?;
        let env =
            SubnetEnv::load(&config.subnet_file).map_err(|error| CniError { code: Code::Unavailable, ..error })?;
        state::probe(&config.data_dir).map_err(|reason| {
            let text = format!("flannel keeps what it delegates below {}: {reason}", config.data_dir.display());
            CniError::new(Code::Limited, text).with_details("make it writable, or set dataDir to another directory")
        })?;
        let (kind, told) = told(request, &config, Some(&env))?;
        delegate::find_in_path(&kind, &request.path).map_err(|error| CniError {
            code: Code::Limited,
            details: format!("flannel hands on to {kind}: install it into a directory of CNI_PATH"),
            ..error
        })?;
        delegate::status(&kind, &told)
    }
}

/// The delegate by the configuration, and the request it gets.
fn told(request: &Request, config: &Config, env: Option<&SubnetEnv>) -> Result<(String, Request), CniError> {
    let told = plan::delegate(request, config, env)?;
    Ok((kind_of(&told), with_config(request, told)))
}

/// The delegate by what was saved, and the request it gets.
fn delegated(saved: &saved::Saved, request: &Request) -> Option<(String, Request)> {
    let told = saved.request(request)?;
    Some((kind_of(&told.config), told))
}

fn kind_of(config: &Value) -> String {
    saved::kind(config).unwrap_or_default().to_owned()
}
