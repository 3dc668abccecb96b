//! Faults of a node, each with the oracle that nothing is left, nothing is given twice, and the next call is well.
//!
//! | fault | where it is tried |
//! | --- | --- |
//! | F1 killed at every system call | `crash_chain` (a list; ADD, DEL), `crash_points`, `host_local_faults`; here `kills` (GC, CHECK) |
//! | F2 the delegated plugin or its caller is killed | here `kills` |
//! | F3 hundreds at once, mixed ADD and DEL, exactly N addresses | `host_local`, cases T75 and F3, `bench cni-parallel`; here `crowds` |
//! | F4 DEL without this, with a wrong that | `attachments/del`, cases T45, F4 and trap5 |
//! | F5 DEL while ADD runs | here `crowds` |
//! | F6 a damaged directory of leases | `host_local`, cases F6, `fuzz/` |
//! | F7 a full or failing disk | `host_local_faults` |
//! | F8 power failure | `host_local` |
//! | F9 reboot | `host_local` |
//! | F10 the kernel refuses or interrupts a netlink call | here `netlink` |
//! | F11 a dump is interrupted by changes | here `netlink` |
//! | F12 bridge, tables or routes are deleted behind us | here `behind` |
//! | F13 a name is taken | here `behind`, case trap18 |
//! | F24 nonsense on standard input | `bad_input`, case F24, `fuzz/` |
//! | F32 the directory of binaries | `install` |
//! | F33 signals, closed outputs | here `signals` |

mod behind;
mod crowds;
mod kills;
mod netlink;
mod scene;
mod signals;
