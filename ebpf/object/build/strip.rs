//! Takes the DWARF out and leaves the rest: four fifths of the object, of use to nobody once BTF is made from it.
//!
//! By hand, since `llvm-strip` is not everywhere and the object crate's builder does not know LLVM's single string table for
//! sections and symbols. The sections keep their numbers, so that nothing that refers to them has to change: a `.debug_*`
//! section becomes an empty one of type SHT_NULL, the others move together. Offsets: ELF-64 Object File Format 1.5, §3, §5.

const MAGIC_64_LITTLE: &[u8] = b"\x7fELF\x02\x01";
/// Elf64_Ehdr: its size, and where e_shoff, e_shnum and e_shstrndx stand.
const FILE_HEADER: usize = 64;
const E_SHOFF: usize = 40;
const E_SHNUM: usize = 60;
const E_SHSTRNDX: usize = 62;
/// Elf64_Shdr: its size, and where sh_name (sh_type follows), sh_offset (sh_size follows) and sh_addralign stand.
const SECTION_HEADER: usize = 64;
const SH_TYPE: usize = 4;
const SH_OFFSET: usize = 24;
const SH_SIZE: usize = 32;
const SH_ADDRALIGN: usize = 48;

/// `object` without the contents of its `.debug_*` sections and their relocations; `.BTF` and `.BTF.ext` stay.
pub fn debug(object: &[u8]) -> Result<Vec<u8>, String> {
    stripped(object).ok_or_else(|| "strip the BPF object: it is not a 64-bit little-endian ELF file".into())
}

fn stripped(object: &[u8]) -> Option<Vec<u8>> {
    if !object.starts_with(MAGIC_64_LITTLE) {
        return None;
    }
    let table = number(object, E_SHOFF)?;
    let headers: Vec<&[u8]> = object.get(table..)?.chunks_exact(SECTION_HEADER).take(half(object, E_SHNUM)?).collect();
    let names = contents(object, headers.get(half(object, E_SHSTRNDX)?)?)?;

    let mut result = object.get(..FILE_HEADER)?.to_vec();
    let mut new_headers = Vec::with_capacity(headers.len() * SECTION_HEADER);
    for header in headers {
        let name = names.get(u32::from_le_bytes(header[..SH_TYPE].try_into().ok()?) as usize..)?;
        let mut header = header.to_vec();
        if name.starts_with(b".debug_") || name.starts_with(b".rel.debug_") {
            header.fill(0);
        } else {
            let data = contents(object, &header)?;
            result.resize(result.len().next_multiple_of(number(&header, SH_ADDRALIGN)?.max(1)), 0);
            header[SH_OFFSET..SH_SIZE].copy_from_slice(&(result.len() as u64).to_le_bytes());
            result.extend_from_slice(data);
        }
        new_headers.extend_from_slice(&header);
    }
    result.resize(result.len().next_multiple_of(8), 0);
    let table = result.len() as u64;
    result[E_SHOFF..E_SHOFF + 8].copy_from_slice(&table.to_le_bytes());
    result.extend_from_slice(&new_headers);
    Some(result)
}

/// No section of these objects is without bytes in the file (SHT_NOBITS): the programs have no zeroed variables.
fn contents<'object>(object: &'object [u8], header: &[u8]) -> Option<&'object [u8]> {
    object.get(number(header, SH_OFFSET)?..)?.get(..number(header, SH_SIZE)?)
}

fn number(bytes: &[u8], at: usize) -> Option<usize> {
    Some(u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?) as usize)
}

fn half(bytes: &[u8], at: usize) -> Option<usize> {
    Some(u16::from_le_bytes(bytes.get(at..at + 2)?.try_into().ok()?) as usize)
}
