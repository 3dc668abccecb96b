//! The kernel's verifier takes every program. Needs root (CAP_BPF, CAP_NET_ADMIN).

use fairlead_ebpf_shared::program;

use crate::hooks;

#[test]
fn the_verifier_takes_every_program() {
    let mut ebpf = hooks::load();
    for name in program::ALL {
        let program = hooks::load_program(&mut ebpf, name).unwrap_or_else(|error| panic!("{name}: {error:#?}"));
        let info = program.info().expect("the kernel describes a loaded program");
        let (verified, length) = (info.verified_instruction_count(), info.size_translated());
        println!("{name}: {verified:?} instructions verified, {length:?} bytes");
    }
}
