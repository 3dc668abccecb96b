//! The BPF programs of `ebpf/programs`, as the bytes of an ELF object.
//!
//! Knows no kernel and loads nothing: its build script is the only place that knows a second toolchain. Invariant others may
//! rely on: the object holds the maps and programs named in `fairlead_ebpf_shared::{map, program}`, their BTF, and no DWARF.

/// The object, little endian, for every kernel from 6.1. Aligned to 8 bytes, as an ELF parser that reads in place needs it.
pub static OBJECT: &[u8] = &ALIGNED.0;

/// Gives the bytes of a file the alignment of a 64-bit ELF.
#[repr(C, align(8))]
struct Aligned<Bytes: ?Sized>(Bytes);

static ALIGNED: &Aligned<[u8]> = &Aligned(*include_bytes!(concat!(env!("OUT_DIR"), "/fairlead.o")));

#[cfg(test)]
mod tests {
    use super::*;
    use aya_obj::{Object, ProgramSection};
    use fairlead_ebpf_shared::{map, program};

    fn parsed() -> Object {
        Object::parse(OBJECT).expect("the object is one that aya can read")
    }

    #[test]
    fn the_object_is_aligned_and_carries_no_dwarf() {
        assert_eq!(OBJECT.as_ptr().align_offset(8), 0);
        assert!(OBJECT.len() < 192 << 10, "{} bytes: were the .debug_ sections left in?", OBJECT.len());
    }

    #[test]
    fn the_object_has_exactly_the_programs_that_are_agreed_on() {
        let object = parsed();
        let mut found: Vec<&str> = object.programs.keys().map(String::as_str).collect();
        found.sort_unstable();
        let mut wanted = program::ALL;
        wanted.sort_unstable();
        assert_eq!(found, wanted);
        for (name, program) in &object.programs {
            assert!(matches!(program.section, ProgramSection::CgroupSockAddr { .. }), "{name}: {:?}", program.section);
        }
        assert_eq!(object.license.to_str(), Ok("Dual MIT/GPL"));
    }

    #[test]
    fn the_object_has_exactly_the_maps_that_are_agreed_on() {
        let object = parsed();
        let mut found: Vec<&str> = object.maps.keys().map(String::as_str).collect();
        found.sort_unstable();
        let mut wanted = map::ALL;
        wanted.sort_unstable();
        assert_eq!(found, wanted, "no global variables either: they would be maps of their own");
    }
}
