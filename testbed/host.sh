#!/bin/sh
# Runs as the first process of an emulated host, inside its new namespaces: host.sh NAME HOME ROOT COMMAND...
# It makes the host's root file system of ROOT, which all hosts share, and of the host's own folders in HOME; moves in;
# lets go of the machine's files, so that nothing is left to uncover; and becomes COMMAND.
set -e
name=$1 home=$2 shared=$3
shift 3
hostname "$name"
ip link set lo up

# The root of the mount namespace is one folder above what the host sees. For the kernel its processes are in a chroot,
# and so may make no user namespace, in which they would have every capability again.
top=$home/top host=$home/top/host
mount -t tmpfs -o size=64k,mode=755 tmpfs "$top"
mkdir "$host" "$top/old"
mount --rbind "$shared" "$host"
for place in run tmp root; do mount --rbind "$home/$place" "$host/$place"; done
for place in log lib; do mount --rbind "$home/$place" "$host/var/$place"; done
for file in hosts hostname resolv.conf; do mount --bind "$home/etc/$file" "$host/etc/$file"; done
bundle=$host/etc/ssl/certs/ca-certificates.crt
[ ! -e "$bundle" ] || mount --bind "$home/etc/ca-certificates.crt" "$bundle"

mount -t devpts -o newinstance,ptmxmode=0666,mode=0620 devpts "$host/dev/pts"
mount -t tmpfs -o nosuid,nodev,size=64m,mode=1777 tmpfs "$host/dev/shm"
# the host's own interfaces; a container that hides parts of /sys lets no user namespace have one
mount -t sysfs -o ro,nosuid,nodev,noexec sysfs "$host/sys" || echo "$name has no /sys" >&2
# of the kernel's settings, those of the host's own network are for writing
mount -t proc -o nosuid,nodev,noexec proc "$host/proc"
mount --bind "$host/proc/sys/net" "$host/proc/sys/net"
mount -o remount,bind,ro,nosuid,nodev,noexec "$host/proc"
for switch in "$host"/proc/sys/net/ipv6/conf/*/disable_ipv6; do echo 1 >"$switch"; done 2>/dev/null || true

cd "$top"
for path in "$host"/usr "$host"/bin "$host"/sbin "$host"/lib* "$host"/proc; do ln -s "host/${path##*/}"; done
pivot_root . old
umount -l old
exec chroot host "$@"
