#!/bin/busybox sh
# First program of the guest (see vm/mod.rs). It ends in an `exec`: process 1 shares its root directory with the kernel's own
# threads, so that module loading finds modprobe in this machine's files and not in the initrd.
b=/bin/busybox
$b mount -t proc proc /proc; $b mount -t sysfs sysfs /sys; $b mount -t devtmpfs devtmpfs /dev
for module in /modules/*; do $b insmod "$module"; done
v9=trans=virtio,version=9p2000.L,msize=262144
$b mount -t 9p -o $v9,ro,cache=loose host /host && $b mount -t tmpfs tmpfs /up && $b mkdir /up/upper /up/work
$b mount -t overlay -o lowerdir=/host,upperdir=/up/upper,workdir=/up/work overlay /root
$b mount -t proc proc /root/proc; $b mount -t sysfs sysfs /root/sys; $b mount -t devtmpfs devtmpfs /root/dev
$b mkdir -p /root/dev/pts /root/dev/shm
$b mount -t devpts devpts /root/dev/pts; $b mount -t tmpfs tmpfs /root/dev/shm
$b mount -t tmpfs tmpfs /root/run; $b mkdir -p /root/vmout
$b mount -t 9p -o $v9 out /root/vmout
$b mkdir -p /root/usr/lib/modules; $b mount --bind "/host$($b cat /root/vmout/modules.path)" /root/usr/lib/modules
$b mkdir -p /root/sys/fs/cgroup; $b mount -t cgroup2 cgroup2 /root/sys/fs/cgroup
$b mount -t bpf bpf /root/sys/fs/bpf; $b mount -t tracefs tracefs /root/sys/kernel/tracing 2>/dev/null
$b ip link set lo up
# Not chroot: setns(2) into a mount namespace goes to that namespace's root, which would still be the initrd.
exec $b switch_root /root /bin/sh /vmout/first
