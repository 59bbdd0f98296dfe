#!/bin/bash
# Installs what the testbed needs on Debian 12 and 13, Ubuntu 22.04 and 24.04: system packages, and a virtual environment for the rest.
#
#   provision.sh [--check] [--python-alias] [--print-python]
#   provision.sh --list
#
#   --check           install nothing: one line for each missing thing, and exit 3 if there is one (needs no root)
#   --python-alias    also make /usr/local/bin/python run the virtual environment's Python (the Vagrant machine's wish)
#   --print-python    print the path of that Python when all is there
#   --list            print the system packages, what each is recognised by, and why it is needed
#
# Silent and quick when nothing is missing. Daemons that the machine runs are left alone, and none that is installed here is
# started, now or at the next boot. Killed half-way, it recovers at the next run. Exit status: 0, or 3 with one line that says why.
#
#   FOOBAR_VENV      the virtual environment's folder (.venv in the project)
#   FOOBAR_PYTHON    the Python it is made from (/usr/bin/python3)
#   FOOBAR_ANY_OS=1  try on other systems too
set -euo pipefail
umask 022

# package, what it is recognised by (a program on PATH, or a path), why
packages=(
    "python3            /usr/bin/python3                        runs everything here"
    "python3-venv       /usr/lib/python3*/ensurepip/__main__.py makes the virtual environment"
    "mininet            mnexec                                  enters an emulated host's namespaces"
    "openvswitch-switch ovs-vswitchd                            the switches, which are also the firewalls"
    "haproxy            haproxy                                 the load balancer"
    "lua-posix          /usr/share/lua/5.*/posix/init.lua       closes what the load balancer has open to a dead server (--health fast)"
    "nginx              nginx                                   the web servers"
    "mariadb-server     mariadbd                                the databases"
    "mariadb-client     mariadb                                 looks at the databases by hand and in checks"
    "galera-4           /usr/lib/galera/libgalera_smm.so        makes a cluster of the databases (--db galera)"
    "rsync              rsync                                   sends a whole database within that cluster"
    "nsd                nsd                                     the authoritative name server"
    "prometheus         prometheus                              collects and judges the metrics (--monitoring on)"
    "victoria-metrics   vmagent                                 the monitoring client: pushes a host's metrics"
    "libnginx-mod-http-modsecurity /usr/lib/nginx/modules/ngx_http_modsecurity_module.so the web application firewall (--waf on)"
    "modsecurity-crs    /usr/share/modsecurity-crs/rules        ... and the core rules"
    "wireshark-common   dumpcap                                 captures what is on the links"
    "tshark             tshark                                  decrypts captures with a key log, for experiments"
    "tcpdump            tcpdump                                 looks at packets by hand"
    "tini               tini                                    pid 1 of the box"
    "nmap               nmap                                    the attacker looks for open ports"
    "hping3             hping3                                  the attacker forges and floods packets"
    "curl               curl                                    the client's requests by hand"
    "iproute2           ip                                      links, addresses, namespaces"
    "iputils-ping       ping                                    is it reachable?"
    "ethtool            ethtool                                 the links' offloads"
    "procps             pkill                                   ps, pkill and sysctl inside hosts"
    "util-linux         unshare                                 makes and enters the box (nsenter)"
    "iperf3             iperf3                                  measures the datapath"
    "wrk                wrk                                     measures HTTPS requests per second"
    "tcc                tcc                                     makes the key log's library, when an experiment decrypts TLS"
    "openssl            openssl                                 looks at certificates and TLS by hand"
    "bind9-dnsutils     dig                                     asks the name server by hand"
)

# Ubuntu 22.04 has no such module for its nginx: --waf on is refused there
if [[ -r /etc/os-release && $(</etc/os-release) == *'VERSION_ID="22.04"'* ]]; then
    for number in "${!packages[@]}"; do
        [[ ${packages[number]} == *modsecurity* ]] && unset "packages[number]"
    done
fi

script=$(readlink -f "${BASH_SOURCE[0]}")
project=${script%/*/*}
base_python=${FOOBAR_PYTHON:-/usr/bin/python3}
state=/var/lib/foobar                # the lock, and what was installed before a set-up that has not ended
log=/var/log/foobar-setup.log
policy=/usr/sbin/policy-rc.d         # asked by packages before they start a daemon
policy_before=$policy.before-foobar
policy_mark="# made by foobar's set-up"
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin
unset PYTHONPATH PYTHONHOME

say() { echo "foobar: $*" >&2; }

die() {
    say "$*"
    exit 3
}

# --- what is missing? This part runs every time: builtins, and three short processes ---

venv_folder() { # another folder than the project's own where that cannot hold symbolic links
    local elsewhere=/opt/foobar/venv made_for=
    if [[ -r $elsewhere/foobar-project ]]; then read -r made_for <$elsewhere/foobar-project || true; fi
    if [[ -n ${FOOBAR_VENV-} ]]; then
        [[ $FOOBAR_VENV == /* ]] && venv=$FOOBAR_VENV || venv=$PWD/$FOOBAR_VENV
    elif [[ $made_for == "$project" ]]; then
        venv=$elsewhere
    else
        venv=$project/.venv
    fi
}

is_there() { # a program, or the pattern of a path
    if [[ $1 == /* ]]; then compgen -G "$1"; else type -P "$1"; fi >/dev/null
}

look() { # fills the four arrays and words that the rest goes by
    local package sign why line
    missing=() reasons=()
    for line in "${packages[@]}"; do
        read -r package sign why <<<"$line"
        is_there "$sign" && continue
        missing+=("$package")
        reasons+=("$sign is missing (package $package: $why)")
    done

    interrupted=no
    if [[ -e $state/installed-before || -e $policy_before ]] || policy_is_ours; then interrupted=yes; fi

    local stamp=
    made_from="$(readlink -f "$base_python" || true) $venv $project"
    made_with=$(cat "$project/setup.py" "$project/vagrant/constraints.txt" | sha256sum)
    venv_state=missing
    if [[ -x $venv/bin/python && -r $venv/foobar-stamp ]]; then
        { read -r stamp && read -r installed_with; } <"$venv/foobar-stamp" || true
        if [[ $stamp != "$made_from" ]]; then
            venv_state=moved
        elif [[ $installed_with != "$made_with" ]]; then
            venv_state=outdated
        else
            venv_state=good
        fi
    fi
}

policy_is_ours() {
    [[ -r $policy ]] && { read -r _ && IFS= read -r mark; } <"$policy" && [[ $mark == "$policy_mark" ]]
}

all_is_there() { [[ ${#missing[@]} == 0 && $interrupted == no && $venv_state == good ]]; }

say_missing() {
    local reason
    for reason in "${reasons[@]}"; do say "$reason"; done
    [[ $interrupted == no ]] || say "a set-up was interrupted, or is running"
    [[ $venv_state == good ]] || say "the virtual environment $venv is $venv_state"
    say "run 'sudo ./foobar' once: it installs what is missing"
}

# --- system packages ---

check_system() {
    [[ ${FOOBAR_ANY_OS-} != 1 ]] || return 0
    local ID=unknown VERSION_ID='' machine
    # shellcheck source=/dev/null
    if [[ -r /etc/os-release ]]; then . /etc/os-release; fi
    machine=$(uname -m)
    case "$ID $VERSION_ID $machine" in
        "debian 12 "* | "debian 13 "* | "ubuntu 22.04 "* | "ubuntu 24.04 "*) ;;
        *) machine=other ;;
    esac
    case $machine in
        x86_64 | aarch64) ;;
        *) die "the set-up knows Debian 12 and 13, Ubuntu 22.04 and 24.04 on amd64 and arm64, not $ID $VERSION_ID on $(uname -m)" \
            "(FOOBAR_ANY_OS=1 tries all the same)" ;;
    esac
}

# Every apt-get is the same: no questions, no removals (another MySQL, say), no waiting for ever, and no restart of
# services by Ubuntu's needrestart.
apt() {
    NEEDRESTART_SUSPEND=1 DEBIAN_FRONTEND=noninteractive apt-get -y -o DPkg::Lock::Timeout=300 --no-remove \
        -o Dpkg::Options::=--force-confdef -o Dpkg::Options::=--force-confold "$@" </dev/null >>"$log" 2>&1
}

installed() { dpkg-query -W -f '${db:Status-Status} ${binary:Package}\n' | sed -n 's/^installed //p' | LC_ALL=C sort; }

# Says no to every start and restart as long as a set-up holds its lock. Should the set-up be killed, that ends by itself.
deny_starts() {
    [[ ! -e $policy ]] || mv "$policy" "$policy_before"
    cat >"$policy.new" <<POLICY
#!/bin/sh
$policy_mark
flock --nonblock --shared $state/lock true || exit 101
[ ! -x $policy_before ] || exec $policy_before "\$@"
POLICY
    chmod 755 "$policy.new"
    mv "$policy.new" "$policy"
}

allow_starts() {
    rm -f "$policy.new"
    if policy_is_ours; then rm "$policy"; fi
    [[ -e $policy_before ]] || return 0
    if [[ -e $policy ]]; then rm "$policy_before"; else mv "$policy_before" "$policy"; fi
}

install_packages() {
    local wanted
    if [[ -e $state/installed-before ]]; then say "finishing a set-up that was interrupted"; else remember_installed; fi
    trap end_packages EXIT
    deny_starts
    if [[ -n $(dpkg --audit; ls /var/lib/dpkg/updates) ]]; then
        DEBIAN_FRONTEND=noninteractive dpkg --force-confdef --force-confold --configure -a </dev/null >>"$log" 2>&1 ||
            say "dpkg --configure -a failed, going on: see $log"
    fi
    mapfile -t wanted < <((half_installed; printf '%s\n' "${missing[@]}") | grep . | sort -u)
    if [[ ${#wanted[@]} != 0 ]]; then say "installing by apt-get: ${wanted[*]}"; fi
    apt update || die "apt-get update failed: $(first_error '^E:'); all of it is in $log"
    enable_universe
    apt install --reinstall --fix-broken --no-install-recommends "${wanted[@]}" ||
        die "apt-get install failed: $(first_error '^E:'); all of it is in $log"
    end_packages
    rm "$state/installed-before"
}

remember_installed() { # what is new is told from what was there
    installed >"$state/installed-before.new"
    mv "$state/installed-before.new" "$state/installed-before"
}

end_packages() { # after a failure too; only that is remembered then, for the next run
    trap - EXIT
    disable_units
    allow_starts
    remember_installed
}

half_installed() { # their programs are there, but not what their own set-up makes
    local status package
    dpkg-query -W -f '${db:Status-Status} ${Package}\n' | while read -r status package; do
        case "$status ${packages[*]} " in
            installed* | not-installed* | config-files*) ;;
            *" $package "*) echo "$package" ;;
        esac
    done
}

enable_universe() { # most images of Ubuntu have it; wrk, nsd and others are there
    # shellcheck source=/dev/null
    (. /etc/os-release && [[ $ID == ubuntu ]]) || return 0
    [[ $(apt-cache policy wrk) != *"Candidate: "[0-9]* ]] || return 0
    type -P add-apt-repository >/dev/null || die "enable Ubuntu's component 'universe' in /etc/apt, then run this again"
    say "enabling Ubuntu's component 'universe'"
    add-apt-repository --yes universe </dev/null >>"$log" 2>&1 || die "add-apt-repository universe failed: see $log"
    apt update || die "apt-get update failed: $(first_error '^E:'); all of it is in $log"
}

# Of the packages that this run brought, and of no other: what `systemctl disable` would do, on machines without systemd too.
# The system's own plumbing is not what it means by a daemon.
disable_units() {
    local files file
    mapfile -t files < <(
        LC_ALL=C comm -13 "$state/installed-before" <(installed) |
            grep -Ev '^(systemd|udev|dbus|init|polkit|libpam)' | xargs -r dpkg -L |
            grep -E '^(/usr)?/lib/systemd/system/[^/]+\.[a-z]+$|^/etc/init\.d/[^/]+$' | sort -u
    )
    for file in "${files[@]}"; do
        if [[ $file == /etc/init.d/* ]]; then
            compgen -G "/etc/rc?.d/S??${file##*/}" >/dev/null || continue # off already
            update-rc.d "${file##*/}" disable >>"$log" 2>&1 || say "could not disable $file: see $log"
        elif [[ -d /etc/systemd/system ]]; then
            find /etc/systemd/system -type l -lname "*/${file##*/}" -delete
        fi
    done
    if [[ -d /run/systemd/system ]]; then systemctl daemon-reload >>"$log" 2>&1 || true; fi
}

first_error() { # PATTERN: the first such line of the log (it tells most), or the very last
    local line
    line=$(grep -m 1 -E "$1" "$log") || line=$(tail -n 1 "$log")
    echo "${line:-nothing was printed}"
}

# --- the virtual environment ---

# Made in two steps, because Ryu 4.34 builds only with an old setuptools that is already there (no build isolation).
make_venv() {
    local version
    version=$("$base_python" -c 'import sys; print("%d.%d" % sys.version_info[:2])') || die "$base_python does not run"
    if [[ $venv_state == outdated ]]; then
        say "updating the virtual environment $venv"
    else
        say "making the virtual environment $venv (Python $version)"
        if [[ -e $venv && ! -e $venv/foobar-project && -n $(ls -A "$venv") ]]; then
            die "$venv was not made by this set-up: move it away, or name another folder in FOOBAR_VENV"
        fi
        rm -rf --one-file-system "$venv"
        mkdir -p "$venv"
        echo "$project" >"$venv/foobar-project"
        "$base_python" -m venv "$venv" >>"$log" 2>&1 || die "python3 -m venv failed: $(first_error 'Error'); all of it is in $log"
    fi
    rm -f "$venv/foobar-stamp"
    pip setuptools wheel pbr
    pip --no-build-isolation --editable "${project}[test]"
    # the clone's owner keeps it when root sets up
    if [[ $venv == "$project"/* && $(stat -c %u "$project") != 0 ]]; then
        chown -R --reference="$project" "$venv"
    fi
    printf '%s\n' "$made_from" "$made_with" >"$venv/foobar-stamp"
}

pip() {
    "$venv/bin/python" -m pip --disable-pip-version-check --no-input install --constraint "$project/vagrant/constraints.txt" \
        "$@" </dev/null >>"$log" 2>&1 || die "pip install failed: $(first_error '^ERROR:'); all of it is in $log"
}

alias_python() {
    local file=/usr/local/bin/python mark="# made by foobar's set-up" text
    text=$(printf '%s\n' '#!/bin/sh' "$mark" "exec '$venv/bin/python' \"\$@\"")
    if [[ -e $file || -L $file ]]; then
        [[ "$(cat "$file")" != "$text" ]] || return 0
        grep -qxF "$mark" "$file" || die "$file is there already and not from this set-up: left as it is"
    fi
    say "making $file"
    echo "$text" >"$file.new"
    chmod 755 "$file.new"
    mv "$file.new" "$file"
}

# --- ---

set_up() {
    ((EUID == 0)) || { say_missing; exit 3; }
    check_system
    mkdir -p "$state"
    # apt-get and pip inherit the lock: when this script is killed, the next run waits until they have ended too
    exec 9>"$state/lock"
    flock --nonblock 9 || { say "waiting for another set-up to end"; flock 9; }
    look
    if all_is_there; then return; fi
    : >"$log"
    SECONDS=0
    allow_starts
    if [[ ${#missing[@]} != 0 || -e $state/installed-before ]]; then
        install_packages
        look # the Python may be new
    fi
    [[ $venv_state == good ]] || make_venv
    look
    all_is_there || die "the set-up went through, yet ${reasons[0]-the virtual environment is $venv_state}: see $log"
    say "set up in $SECONDS s; no daemon was started or enabled"
}

check_only=no alias=no print=no
for option in "$@"; do
    case $option in
        --check) check_only=yes ;;
        --python-alias) alias=yes ;;
        --print-python) print=yes ;;
        --list) printf '%s\n' "${packages[@]}"; exit ;;
        --help) sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p}' "$script"; exit ;;
        *) say "unknown option $option: the options are --check --python-alias --print-python --list --help"; exit 64 ;;
    esac
done
trap 'exit 130' INT
trap 'exit 143' TERM

venv_folder
look
if ! all_is_there; then
    [[ $check_only == no ]] || { say_missing; exit 3; }
    set_up
fi
[[ $alias == no ]] || alias_python
[[ $print == no ]] || echo "$venv/bin/python"
