#!/bin/busybox sh
# First and only process of the virtual machine: asks the server over kernel TLS and says on the console what came, one line that
# begins with @@ for each fact. It judges nothing: main.rs does.
/bin/busybox mkdir -p /proc /sys /dev /tmp /sbin /usr/bin /usr/sbin
/bin/busybox --install -s 2>/dev/null
export PATH=/usr/bin:/bin:/usr/sbin:/sbin OPENSSL_CONF=/dev/null
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
ip link set lo up

say() { echo "@@ $*"; }
sum() { sha256sum "$1" | cut -d' ' -f1; }
# what the kernel counted: tls NAME
tls() { awk -v n="$1" '$1 == n { v = $2 } END { print v + 0 }' /proc/net/tls_stat 2>/dev/null || echo 0; }
metric() { curl -sS http://127.0.0.1:9000/metrics | awk -v n="$1" '$1 == n { v = $2 } END { print v + 0 }'; }
answered() { cat /tmp/access 2>/dev/null | wc -l; }
# waits until the command given is true, for at most 10 s
await() { local i=0; until eval "$1"; do i=$((i + 1)); [ $i -gt 100 ] && return 1; sleep 0.1; done; }

# bytes that `sendfile` sent, and the largest other sending call, in the trace behind line $1
calls() {
  tail -n +$(($1 + 1)) /tmp/trace | awk '
    { name = ($2 == "<...") ? $3 : $2; sub(/\(.*/, "", name); n = $0; sub(/.*\) += /, "", n); n += 0; if (n < 0) n = 0 }
    name == "sendfile" || name == "sendfile64" { bytes += n; next }
    n > largest { largest = n }
    END { print "sendfile=" bytes + 0, "largest_copy=" largest + 0 }'
}

# get NAME ANSWERS CURL_OPTION...: one run of curl; bodies land in /tmp/b*
get() {
  local name=$1 answers=$2 lines tx logged said rc body
  shift 2
  rm -f /tmp/b*
  lines=$(wc -l </tmp/trace) tx=$(tls TlsTxSw) logged=$(answered)
  said=$(curl -sS --cacert /cert.pem -m 25 -w '%{http_code}/%{http_version}/%{num_connects},' "$@" 2>/tmp/error)
  rc=$?
  await "[ \$(answered) -ge $((logged + answers)) ]"
  say "get $name rc=$rc said=$said tx=$(($(tls TlsTxSw) - tx)) $(calls "$lines")"
  for body in /tmp/b*; do [ -e "$body" ] && say "body $name $(basename "$body") $(sum "$body")"; done
  [ $rc = 0 ] || say "error $name $(tail -n 1 /tmp/error)"
}

site=https://127.0.0.1:8443
# pair NAME HTTP_VERSION FILE RANGE CURL_OPTION...: the whole file and a range of it on one connection
pair() {
  local name=$1 http=$2 file=$3 range=$4
  shift 4
  get "$name:$http" 2 --http$http "$@" -o /tmp/b1 $site/$file --next \
    -sS --cacert /cert.pem -m 25 -w '%{http_code}/%{http_version}/%{num_connects},' --http$http "$@" \
    -r $range -o /tmp/b2 $site/$file
}
# every HTTP version with one cipher: suite TLS_VERSION CIPHER
suite() {
  local name=$1:$2
  case $1 in
    1.3) set -- --tlsv1.3 --tls13-ciphers "$2" ;;
    1.2) set -- --tls-max 1.2 --ciphers "$2" ;;
  esac
  pair "$name" 1.1 film.mp4 1000001-3000000 "$@"
  pair "$name" 2 short.mp4 100001-500000 "$@"
}

# The kernel's ChaCha20-Poly1305 is hidden at first: a cipher that it does not have.
modules=/lib/modules/$(uname -r)
hidden=$(find "$modules" -name chacha20poly1305.ko)
mv $hidden /hidden.ko
depmod 2>/dev/null

modprobe virtio_pci
modprobe virtio_blk
mount -t ext4 /dev/vda /srv
cat /srv/*.mp4 >/dev/null

say "kernel $(uname -r)"
strace -f -s 0 -e trace=sendfile,sendto,sendmsg,write,writev -o /tmp/trace /oca-server --log warn serve --root /srv \
  --listen 127.0.0.1:8080 --tls-listen 127.0.0.1:8443 --admin-listen 127.0.0.1:9000 --cert /cert.pem --key /key.pem \
  --workers 1 >/tmp/access 2>/tmp/log &
await '[ -s /tmp/access ]' || { say "the server does not start: $(cat /tmp/log)"; poweroff -f; }
say "module $(grep -c '^tls ' /proc/modules)"

for cipher in TLS_AES_128_GCM_SHA256 TLS_AES_256_GCM_SHA384; do suite 1.3 $cipher; done
for cipher in ECDHE-ECDSA-AES128-GCM-SHA256 ECDHE-ECDSA-AES256-GCM-SHA384; do suite 1.2 $cipher; done
say "sessions before kernel=$(metric 'oca_tls_sessions_total{sealed_by="kernel"}') process=$(metric 'oca_tls_sessions_total{sealed_by="process"}')"
suite 1.3 TLS_CHACHA20_POLY1305_SHA256
say "sessions without kernel=$(metric 'oca_tls_sessions_total{sealed_by="kernel"}') process=$(metric 'oca_tls_sessions_total{sealed_by="process"}')"
mv /hidden.ko $hidden
depmod 2>/dev/null
suite 1.3 TLS_CHACHA20_POLY1305_SHA256
suite 1.2 ECDHE-ECDSA-CHACHA20-POLY1305
say "sessions with kernel=$(metric 'oca_tls_sessions_total{sealed_by="kernel"}') process=$(metric 'oca_tls_sessions_total{sealed_by="process"}')"

# Answers without a body, or with one that no file gives, must not wait for what comes next.
more="--next --http1.1 -sS --cacert /cert.pem -m 25 -w %{http_code}/%{http_version}/%{num_connects},"
get small 5 --http1.1 -o /tmp/b1 $site/none $more -I -o /tmp/b2 $site/film.mp4 $more -o /tmp/b3 $site/empty.mp4 \
  $more -r 0-9,70000-79999 -o /tmp/b4 $site/film.mp4 $more -H 'Connection: close' -o /tmp/b5 $site/film.mp4

# A slow reader at the end of its connection.
get slow 1 --http1.1 --limit-rate 2M -H 'Connection: close' -o /tmp/b1 $site/film.mp4

# A file that ends early, under a client that reads slowly.
rm -f /tmp/b1
(await '[ $(cat /tmp/b1 2>/dev/null | wc -c) -gt 300000 ]'; truncate -s 3000000 /srv/cut.mp4) &
get cut 1 --http1.1 --limit-rate 1M -o /tmp/b1 $site/cut.mp4

# New keys between two answers. What comes is written as it is.
size() { cat /tmp/answers | wc -c; }
ask() { printf 'GET /film.mp4 HTTP/1.1\r\nHost: a\r\nRange: bytes=0-1499999\r\n\r\n'; }
: >/tmp/answers
tx=$(tls TlsTxSw) rekeys=$(tls TlsTxRekeyOk)
{
  ask
  await '[ $(size) -gt 1500000 ]'
  echo K
  sleep 0.5
  echo K
  sleep 0.5
  ask
  await '[ $(size) -gt 3000000 ]'
  sleep 1
} | timeout 40 openssl s_client -connect 127.0.0.1:8443 -tls1_3 -quiet -no_ign_eof >/tmp/answers 2>/tmp/error
say "keys rc=$? size=$(size) tx=$(($(tls TlsTxSw) - tx)) rekeys=$(($(tls TlsTxRekeyOk) - rekeys)) said=$(tr '\n' ';' </tmp/error | tr ' ' _)"
# both answers have the same length; without the second, both of these are the first
size=$(size) first=$(size)
[ $size -gt 3000000 ] && first=$((size / 2))
head -c $first /tmp/answers | tail -c 1500000 >/tmp/first
tail -c 1500000 /tmp/answers >/tmp/second
say "bodies $size $(sum /tmp/first) $(sum /tmp/second)"
get after 1 --http1.1 -o /tmp/b1 $site/film.mp4

# What must come from the drive first.
echo 3 >/proc/sys/vm/drop_caches
get cold 1 --http1.1 -o /tmp/b1 $site/film.mp4

say "log $(grep -c . /tmp/log) lines"
tail -n 40 /tmp/log
say "end"
poweroff -f
