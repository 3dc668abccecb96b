//! Requests for unit tests, made the way a call makes them: there is no other way to one.

use std::sync::Mutex;

use fairlead_protocol::{CniError, CniResult, Io, Plugin, Request};
use serde_json::Value;

/// Keeps the request it is called with.
struct Keeper(Mutex<Option<Request>>);

impl Plugin for Keeper {
    fn name(&self) -> &'static str {
        "keeper"
    }
    fn add(&self, request: &Request) -> Result<CniResult, CniError> {
        *self.0.lock().unwrap() = Some(request.clone());
        Err(CniError::internal("kept"))
    }
    fn check(&self, _: &Request) -> Result<(), CniError> {
        Ok(())
    }
    fn del(&self, _: &Request) -> Result<(), CniError> {
        Ok(())
    }
    fn gc(&self, _: &Request) -> Result<(), CniError> {
        Ok(())
    }
    fn status(&self, _: &Request) -> Result<(), CniError> {
        Ok(())
    }
}

/// An ADD of `eth0` of the container `id`, version 1.1.0, network `net`, with this configuration and `CNI_ARGS`.
pub fn request(config: &Value, args: &str) -> Request {
    let mut config = config.clone();
    config["name"] = "net".into();
    config["cniVersion"] = "1.1.0".into();
    request_of(&config.to_string(), args)
}

/// The same with a configuration byte for byte.
pub fn request_of(config: &str, args: &str) -> Request {
    let env = |name: &str| {
        let value = match name {
            "CNI_COMMAND" => "ADD",
            "CNI_ARGS" => args,
            "CNI_IFNAME" => "eth0",
            "CNI_CONTAINERID" => "id",
            _ => "/nowhere",
        };
        Some(value.to_owned())
    };
    let keeper = Keeper(Mutex::new(None));
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    let mut io = Io { env: &env, stdin: &mut config.as_bytes(), stdout: &mut stdout, stderr: &mut stderr };
    fairlead_protocol::run(&keeper, &[], &mut io);
    keeper.0.into_inner().unwrap().unwrap_or_else(|| panic!("{}", String::from_utf8_lossy(&stdout)))
}
