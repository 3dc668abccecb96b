//! `firewall` behind `bridge`: who reaches whom, judged by packets, on the reference and on ours.

mod beside;
mod firewalld;
mod life;
mod reach;
mod scene;
