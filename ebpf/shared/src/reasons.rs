//! What is counted.

/// Index into the per-CPU array `COUNTERS` of u64: what the programs did, and why they refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Reason {
    /// A connect or a datagram was sent to a backend.
    Translated = 0,
    /// A frontend with an empty set: refused.
    NoBackend = 1,
    /// A recycled element, slot or backend was seen and looked up again.
    Recycled = 2,
    /// Every look of the bounded number met recycled entries: refused (never sent to a foreign backend).
    GaveUp = 3,
    /// A reply was given its VIP back.
    ReplyTranslated = 4,
    /// An origin could not be stored, in the socket or in `REPLIES`: the application will be shown the backend's address.
    ReplyLost = 5,
    /// There are endpoints, but the traffic policy is Local and none is on this node: dropped.
    DroppedNoLocal = 6,
    /// The client is outside of the service's source ranges: dropped.
    DroppedSourceRange = 7,
    /// The service has source ranges and the client's address is not known: dropped.
    ClientUnknown = 8,
    /// A cluster IP, at a port that no service has there: refused.
    UndefinedPort = 9,
    /// A client was sent to the backend that it had before.
    AffinityKept = 10,
    /// Where a client was sent could not be stored: its next connection may go elsewhere.
    AffinityLost = 11,
}

impl Reason {
    /// All of them, in index order.
    pub const ALL: [Self; 12] = [
        Self::Translated,
        Self::NoBackend,
        Self::Recycled,
        Self::GaveUp,
        Self::ReplyTranslated,
        Self::ReplyLost,
        Self::DroppedNoLocal,
        Self::DroppedSourceRange,
        Self::ClientUnknown,
        Self::UndefinedPort,
        Self::AffinityKept,
        Self::AffinityLost,
    ];

    /// The name operators see.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Translated => "translated",
            Self::NoBackend => "no_backend",
            Self::Recycled => "recycled",
            Self::GaveUp => "gave_up",
            Self::ReplyTranslated => "reply_translated",
            Self::ReplyLost => "reply_lost",
            Self::DroppedNoLocal => "dropped_no_local",
            Self::DroppedSourceRange => "dropped_source_range",
            Self::ClientUnknown => "client_unknown",
            Self::UndefinedPort => "undefined_port",
            Self::AffinityKept => "affinity_kept",
            Self::AffinityLost => "affinity_lost",
        }
    }
}
