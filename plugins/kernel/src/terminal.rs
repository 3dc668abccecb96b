//! The terminal behind stdout.

use std::io::{IsTerminal, stdout};
use std::os::fd::AsRawFd;

/// Its width in characters. `None`: stdout is no terminal, or it does not say.
pub fn columns() -> Option<usize> {
    let out = stdout();
    if !out.is_terminal() {
        return None;
    }
    let mut size = libc::winsize { ws_row: 0, ws_col: 0, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: TIOCGWINSZ writes one winsize, which `size` is; the descriptor is open as long as `out` lives.
    let done = unsafe { libc::ioctl(out.as_raw_fd(), libc::TIOCGWINSZ, &mut size) };
    (done == 0 && size.ws_col > 0).then_some(usize::from(size.ws_col))
}
