//! What an operator should know about the services.

use std::fmt;

use fairlead_ebpf_shared::FrontendKey;

use crate::facts::ObjectName;
use crate::render::frontend_name;

/// Something about a service that is not served as written, or not served at all.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Notice {
    /// A port with protocol SCTP: there is no socket hook for it.
    SctpNotServed {
        /// The service.
        service: ObjectName,
        /// Its port.
        port: u16,
    },
    /// The address, port and protocol belong to an older service (then: of the lesser name).
    Conflict {
        /// The service that is not served there.
        loser: ObjectName,
        /// The service that is.
        winner: ObjectName,
        /// Where.
        key: FrontendKey,
    },
    /// The service's internal traffic policy is `Local`, there are endpoints, and none of them is on this node: connections
    /// are dropped. (The same of the external policy is how load balancers find the nodes that have some: no news.)
    NoLocalEndpoint {
        /// The service.
        service: ObjectName,
        /// Where.
        key: FrontendKey,
    },
    /// More usable endpoints than a set can hold; the rest, in ascending order, are left out.
    TooManyEndpoints {
        /// The service.
        service: ObjectName,
        /// Where.
        key: FrontendKey,
        /// How many there are.
        found: usize,
    },
    /// A slice whose service is not there. It waits.
    Orphan {
        /// The slice.
        slice: ObjectName,
        /// The service that it says it belongs to.
        service: ObjectName,
    },
}

/// How much it matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Weight {
    /// Something stated is not done.
    Error,
    /// Something is done otherwise than one might think.
    Warning,
    /// It is in order, if it is meant.
    Notice,
}

/// Which object a notice is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subject<'a> {
    /// A service.
    Service(&'a ObjectName),
    /// A slice.
    Slice(&'a ObjectName),
}

impl Notice {
    /// How much it matters.
    #[must_use]
    pub const fn weight(&self) -> Weight {
        match self {
            Self::Conflict { .. } | Self::TooManyEndpoints { .. } => Weight::Error,
            Self::SctpNotServed { .. } | Self::NoLocalEndpoint { .. } => Weight::Warning,
            Self::Orphan { .. } => Weight::Notice,
        }
    }

    /// Which object it is about.
    #[must_use]
    pub const fn subject(&self) -> Subject<'_> {
        match self {
            Self::SctpNotServed { service, .. }
            | Self::NoLocalEndpoint { service, .. }
            | Self::TooManyEndpoints { service, .. } => Subject::Service(service),
            Self::Conflict { loser, .. } => Subject::Service(loser),
            Self::Orphan { slice, .. } => Subject::Slice(slice),
        }
    }
}

/// One sentence that names the object.
impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SctpNotServed { service, port } => {
                write!(f, "Service {service}: port {port}/SCTP is not served: only TCP and UDP are")
            }
            Self::Conflict { loser, winner, key } => write!(
                f,
                "Service {loser}: {} is not served for it: it belongs to Service {winner}, first by age and then by name",
                frontend_name(key)
            ),
            Self::NoLocalEndpoint { service, key } => write!(
                f,
                "Service {service}: connections to {} are dropped: internalTrafficPolicy is Local and no endpoint is on \
                 this node",
                frontend_name(key)
            ),
            Self::TooManyEndpoints { service, key, found } => {
                write!(f, "Service {service}: {} has {found} endpoints, some are left out", frontend_name(key))
            }
            Self::Orphan { slice, service } => {
                write!(f, "EndpointSlice {slice}: there is no Service {service}; it waits")
            }
        }
    }
}
