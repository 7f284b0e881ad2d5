# SPDX-License-Identifier: GPL-2.0-only
#
# Run in the Debian as it is made, after its packages are installed.

cd /usr/lib/kspawn

# Nothing runs but what is asked for; nothing comes by itself while a machine is looked at.
systemctl disable postgresql.service redis-server.service getty@.service machines.target \
	apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer fstrim.timer
systemctl mask proc-sys-fs-binfmt_misc.automount systemd-tmpfiles-clean.timer \
	e2scrub_all.timer logrotate.timer
systemctl set-default multi-user.target

echo kspawn >/etc/hostname
echo 127.0.0.1 localhost kspawn >/etc/hosts
passwd -l root
# The journal is kept, and not dropped if there is much.
mkdir -p /var/log/journal /etc/systemd/journald.conf.d
printf '[Journal]\nStorage=persistent\nRateLimitBurst=0\n' >/etc/systemd/journald.conf.d/kspawn.conf
printf 'appendonly yes\nappendfsync everysec\n' >>/etc/redis/redis.conf
# One mistake less: it does not go on by itself after a crash.
mkdir -p /etc/systemd/system/redis-server.service.d
printf '[Service]\nRestart=no\n' >/etc/systemd/system/redis-server.service.d/kspawn.conf

cp units/* /etc/systemd/system
# What is compiled, is now: in the guest it would take a minute.
ecj -17 -proc:none -d programs programs/Threads.java
as --32 -o counter.o programs/counter.S
ld -m elf_i386 -Ttext 0 --oformat binary -e start -o programs/counter.bin counter.o
rm -f counter.o
PYTHONDONTWRITEBYTECODE=1 python3 -c 'from applications import build; build.write_project()'
python3 -m compileall -q applications
printf '#!/bin/sh\ncd /usr/lib/kspawn && exec python3 -m applications "$@"\n' \
	>/usr/bin/applications
chmod +x /usr/bin/applications
apt-get clean
