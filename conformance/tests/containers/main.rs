//! Real runtimes: Debian's podman with its CNI back end, and containerd by `ctr run --cni`. The image is busybox and nothing
//! else, made here. Each case runs with the reference plugins first: what they cannot do either says nothing about ours.

mod containerd;
mod podman;
mod stage;
