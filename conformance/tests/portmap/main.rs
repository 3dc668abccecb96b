//! `portmap` with packets: who is answered, with whose address, and who must not be; what stays when a container goes.

mod guard;
mod life;
mod owners;
mod reach;
mod stage;
mod words;
