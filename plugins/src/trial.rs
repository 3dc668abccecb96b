//! The plugins' own reading of their configuration, without what follows it: for `cnitool lint` and for the fuzzer.

use std::cell::RefCell;

use fairlead_protocol::{CniError, CniResult, Io, Plugin, Request, Version};

use crate::{ipam, main_plugins, meta};

/// Reads the configuration of a request as the plugin of this name does before it touches anything.
/// `None`: not one of ours, or it has nothing to read.
pub fn read_config(kind: &str, request: &Request) -> Option<Result<(), CniError>> {
    Some(match kind {
        "bridge" => main_plugins::bridge::config::Config::load(request).map(drop),
        "host-local" => ipam::host_local::config::Config::load(request).map(drop),
        "static" => ipam::static_addresses::config::Config::load(request).map(drop),
        "portmap" => meta::portmap::config::Config::load(request).map(drop),
        "firewall" => meta::firewall::config::Config::load(request).map(drop),
        "ptp" => main_plugins::ptp::config::Config::load(request).map(drop),
        "tuning" => meta::tuning::config::Config::load(request).map(drop),
        "bandwidth" => meta::bandwidth::config::Config::load(request).map(drop),
        "flannel" => meta::flannel::config::Config::load(request).map(drop),
        _ => return None,
    })
}

/// The request that the dispatcher makes of variables and a configuration. `None`: it answers without asking a plugin.
/// Errors: what it refuses before any plugin is asked.
pub fn request(
    versions: &'static [Version],
    variable: &dyn Fn(&str) -> Option<String>,
    config: &[u8],
) -> Result<Option<Request>, CniError> {
    thread_local! {
        static CAUGHT: RefCell<Option<Request>> = const { RefCell::new(None) };
    }
    struct Catcher(&'static [Version]);
    impl Catcher {
        fn catch(&self, request: &Request) -> Result<(), CniError> {
            CAUGHT.set(Some(request.clone()));
            Ok(())
        }
    }
    impl Plugin for Catcher {
        fn name(&self) -> &'static str {
            "trial"
        }
        fn versions(&self) -> &'static [Version] {
            self.0
        }
        fn add(&self, request: &Request) -> Result<CniResult, CniError> {
            self.catch(request).map(|()| CniResult::default())
        }
        fn check(&self, request: &Request) -> Result<(), CniError> {
            self.catch(request)
        }
        fn del(&self, request: &Request) -> Result<(), CniError> {
            self.catch(request)
        }
        fn gc(&self, request: &Request) -> Result<(), CniError> {
            self.catch(request)
        }
        fn status(&self, request: &Request) -> Result<(), CniError> {
            self.catch(request)
        }
    }
    let (mut stdin, mut stdout, mut stderr) = (config, Vec::new(), Vec::new());
    let mut io = Io { env: variable, stdin: &mut stdin, stdout: &mut stdout, stderr: &mut stderr };
    CAUGHT.set(None);
    fairlead_protocol::run(&Catcher(versions), &[], &mut io);
    match (CAUGHT.take(), CniError::from_json(&stdout)) {
        (Some(request), _) => Ok(Some(request)),
        (None, Some(error)) => Err(error),
        (None, None) => Ok(None),
    }
}
