"""Sentences, code, quotations, names and headers as honest people send them, made by chance. Pure."""

# ruff: noqa: E501, RUF001 - texts as people and programs write them

from __future__ import annotations

from collections.abc import Callable
from random import Random
from urllib.parse import quote_plus

LANGUAGES = {
    "English": "the server answers slowly when we select a group from our union drop-in table or update and order by date",
    "German": "schöne Grüße aus Köln über die Straße größer wäre dafür können Sie morgen früh übrigens weiß ich nicht ob",
    "French": "l'été dernier nous avons déjà goûté à la crème brûlée où est-ce qu'on s'arrête aujourd'hui c'est ça garçon",
    "Spanish": "¿dónde está el niño? mañana será otro día ¡qué alegría! señor corazón también después año último",
    "Portuguese": "não há informações amanhã então você está são João coração avó às vezes pôr também três",
    "Polish": "zażółć gęślą jaźń dziękuję proszę bardzo żółw źdźbło święto łódź książka się nie wie",
    "Turkish": "şu çılgın Türkler ığdır ağaç öğretmen güneş ile birlikte İstanbul'da büyük çocuk değil",
    "Czech": "příliš žluťoučký kůň úpěl ďábelské ódy děkuji dobrý den řeřicha",
    "Greek": "καλημέρα κόσμε πώς είσαι σήμερα η θάλασσα είναι όμορφη ευχαριστώ πολύ",
    "Russian": "съешь ещё этих мягких французских булок да выпей чаю привет как дела спасибо",
    "Hebrew": "שלום עולם מה שלומך היום תודה רבה בוקר טוב לכולם",
    "Arabic": "مرحبا بالعالم كيف حالك اليوم شكرا جزيلا صباح الخير للجميع",
    "Hindi": "नमस्ते दुनिया आप कैसे हैं आज बहुत धन्यवाद शुभ प्रभात",
    "Chinese": "你好 世界 今天 天气 很好 谢谢 大家 我们 明天 再见",
    "Japanese": "こんにちは 世界 今日は いい 天気 です ありがとう ございます また 明日",
    "Korean": "안녕하세요 세계 오늘 날씨가 좋네요 감사합니다 내일 봐요",
    "Vietnamese": "xin chào thế giới hôm nay trời đẹp quá cảm ơn rất nhiều hẹn gặp lại",
}
_NAMES = """\
O'Brien D'Angelo Müller Jean-Luc Nuñez Åsa Øyvind Zoë Renée N'Golo McDonald al-Khwarizmi Dvořák Søren Ñandú 王小明 Иван
Łukasz Union Select Drop Null Grant Alter Ünal Anne-Marie O’Neill Tim_1 max.mustermann anna-lena x_y D'Souza Ng Í"""
_EMOJI = """\
😀 😂 ❤️ 🎉 👍🏽 👩‍👩‍👧 🏳️‍🌈 🤷‍♂️ 🇩🇪 ☕ ✅ 🔥 ¯\\_(ツ)_/¯ :-) <3 ;-) :'( (╯°□°)╯︵┻━┻ ^_^ :/ xD"""
_WORDS = "disk router packet invoice holiday cat bicycle query index union table group meeting lunch build branch"
NAMES, EMOJI, WORDS = _NAMES.split(), _EMOJI.split(), _WORDS.split()

_SQL = (
    "SELECT name, count(*) FROM {a} WHERE {b} > 3 GROUP BY name ORDER BY 2 DESC;",
    "Can I select from {a} where {b} is null, or do I have to join it first?",
    "INSERT INTO {a} ({b}) VALUES ('it''s'), (NULL);",
    "Please don't drop the {a} table; update the {b} instead.",
    "UPDATE {a} SET {b} = {b} + 1 WHERE id = 7; -- not tested",
    "union of {a} and {b}: SELECT * FROM {a} UNION ALL SELECT * FROM {b};",
    "What does 1=1 or '{a}'='{a}' mean in that {b} example?",
    "ALTER TABLE {a} ADD COLUMN {b} varchar(40) NOT NULL DEFAULT '';",
)
_CODE = (
    "def {a}({b}, *rest):\n    return [{b} ** 2 for _ in range(10) if {b} != 'x']",
    "for f in *.txt; do grep -n '{a}' \"$f\" | sort -u > {b}.log; done",
    'int main(void) {{ printf("{a}: %d\\n", {b}[0]); return 0; }}',
    "const {a} = ({b}) => {b}.map(x => x + 1).filter(Boolean);",
    "if (a < {n} && b > {n}) {{ {a}->{b} = NULL; }}",
    "std::vector<std::string> {a}; for (auto& x : {a}) std::cout << x << '\\n';",
    "List<String> {a} = new ArrayList<>(); Map<String, {b}> m;",
    '{{"{a}": [1, 2, {{"{b}": null}}], "ok": true}}',
    "fn {a}<T: Clone>(x: &T) -> Option<T> {{ Some(x.clone()) }}",
    'git commit -m "{a}: fix {b}" && git push origin HEAD',
    "tar xzf {a}.tar.gz -C /tmp; ls -la ~/{b} | head -n {n}",
    "#!/bin/sh\nset -e\ncat /var/log/{a}.log | awk '{{print $1}}' | uniq -c",
    "Traceback (most recent call last):\n  File \"{a}.py\", line {n}, in <module>\nKeyError: '{b}'",
    "{a} = lambda x: x @ {b}  # matrix\nassert {a}(1) is not None",
    "[{a}]\n{b} = {n}\npath = C:\\Users\\{a}\\{b}.ini",
    "^(?:[a-z]+|\\d{{1,3}})\\.{a}$ matches {b}.{a}, doesn't it?",
    "\\frac{{{a}}}{{{b}}} = \\sum_{{i=0}}^{{{n}}} x_i^2",
    "| {a} | {b} |\n|---|---|\n| 1 | `x` |",
    "# {a}\n\n* **{b}**\n* [link](https://example.org/{a}?q={b}&p={n}#top)\n> quoted",
    '192.168.{n}.1 - - [29/Nov/2025:10:00:00 +0000] "GET /{a} HTTP/1.1" 200 {n}',
    "kubectl get pods -o json | jq '.items[] | select(.{a})' # {b}",
    "docker run --rm -v $(pwd):/src {a}:{b} sh -c 'make && ./test'",
)
_WEB = (
    'The <{a}> tag is old, use <div class="{b}"> and CSS instead.',
    "How do I close <p> when there is a <br> in {a}?",
    "Is onclick better than addEventListener for {a}?",
    "My page says: <b>{a}</b> and &lt;{b}&gt;, why?",
    'In HTML5 one writes <img src="{a}.png" alt="{b}">.',
    "javascript: it is not Java, says {a}.",
    "Put <script> at the end of the body, {a} said; {b} disagrees.",
    '<a href="https://example.org/{a}">{b}</a> does not become a link here?',
)
_PROSE = (
    '"{a}", she said, "isn\'t {b}" - and that\'s {n} % of it.',
    "'{a}' or \"{b}\" or „{a}“ or «{b}» or ‚{a}‘?",
    "Meet at {n}:30; bring {a} & {b} (both!) -- thanks...",
    "Price: {n},99 € / $ {n}.50 = ~{n} £ + 19 % tax; {a} #{n} @{b}",
    "See https://example.org/{a}/{b}?id={n}&lang=de#a or mail {a}@{b}.example",
    "a < b > c <= d >= e != f <> g -> {a} => {b} <- <3",
    "rm -rf is dangerous, {a}! Don't type `sudo {b}`; exec() and eval() neither.",
    "I read /etc/passwd and ../{a} in a book: {b} etc.",
    "Q: {a}?\nA: {b}.\n\n\nP.S. 1) one 2) two; 3/4 = 75 %",
    "{a}\t{b}\t{n}\n{b}\t{a}\t{n}",
    "C:\\{a}\\{b}.exe or \\\\server\\{a}$",
    "Let's delete {a}, then create {b}, and execute order {n}.",
    "{{{a}}} [[{b}]] ((x)) <<y>> %{a}% ${b} $[{n}] ~/.{a}",
)


def words(random: Random) -> list[str]:
    """The words of a language."""
    return LANGUAGES[random.choice(list(LANGUAGES))].split()


def sentence(random: Random) -> str:
    """Words of one language, with the marks that people make."""
    spoken = random.choices(words(random), k=random.randint(2, 25))
    return " ".join(spoken) + random.choice((".", "!", "?", " ...", "", " :)", "?!"))


def quoted(random: Random) -> str:
    """A sentence with all kinds of marks."""
    return _filled(random, _PROSE)


def sql(random: Random) -> str:
    """SQL, or a sentence about it."""
    return _filled(random, _SQL)


def emoji(random: Random) -> str:
    """One of them, in one of the ways to write them."""
    return random.choice(EMOJI)


def name(random: Random) -> str:
    """A first name, perhaps a second, perhaps a number."""
    parts = random.sample(NAMES, random.choice((1, 1, 2)))
    return " ".join(parts) + random.choice(("", "", str(random.randint(1, 2030))))


def _filled(random: Random, texts: tuple[str, ...]) -> str:
    a, b = random.sample(WORDS, 2)
    return random.choice(texts).format(a=a, b=b, n=random.randint(2, 250))


def _long(random: Random) -> str:
    """As long as the site takes, and sometimes longer: it says so in friendly words."""
    parts = [random.choice((sentence, quoted, code, sql))(random) for _ in range(20)]
    return "\n".join(parts)[: random.choice((500, 500, 500, 1500))]


def _mixed(random: Random) -> str:
    return " ".join(random.choice((sentence, quoted, emoji))(random) for _ in range(random.randint(2, 5)))


def code(random: Random) -> str:
    """Some lines of a language."""
    return _filled(random, _CODE)


def _about(random: Random) -> str:
    """A technical paragraph: code between sentences."""
    return f"{sentence(random)}\n\n{random.choice((code, sql))(random)}\n\n{sentence(random)}"


#: how much of the corpus, and how it is made; who talks about tags on this board is one in fifty
KINDS: dict[str, tuple[float, Callable[[Random], str]]] = {
    "a sentence": (20, sentence),
    "quotes and marks": (16, quoted),
    "code": (14, code),
    "SQL": (10, sql),
    "technical paragraphs": (12, _about),
    "names": (6, lambda random: f"{name(random)} and {name(random)} say hi"),
    "emoji": (6, lambda random: " ".join(random.choices(EMOJI, k=random.randint(1, 9)))),
    "mixed": (8, _mixed),
    "long": (6, _long),
    "about HTML": (2, lambda random: _filled(random, _WEB)),
}

_AGENTS = (
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/{v}.0.0.0 Safari/537.36",
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/{v}.0.0.0 Safari/537.36 Edg/{v}.0.2210.91",
    "Mozilla/5.0 (X11; Ubuntu; Linux x86_64; rv:{v}.0) Gecko/20100101 Firefox/{v}.0",
    "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.4 Safari/605.1.15",
    "Mozilla/5.0 (iPhone; CPU iPhone OS 17_4_1 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.4.1 Mobile/15E148 Safari/604.1",
    "Mozilla/5.0 (Linux; Android 14; SM-S918B) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/{v}.0.6099.144 Mobile Safari/537.36",
    "Mozilla/5.0 (Android 14; Mobile; rv:{v}.0) Gecko/{v}.0 Firefox/{v}.0",
    "Opera/9.80 (Windows NT 6.1; U; de) Presto/2.12.388 Version/12.18",
    "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)",
    "Mozilla/5.0 (compatible; bingbot/2.0; +http://www.bing.com/bingbot.htm)",
    "Mozilla/5.0 (compatible; DuckDuckBot-Https/1.1; https://duckduckgo.com/duckduckbot)",
    "Mozilla/5.0 (compatible; YandexBot/3.0; +http://yandex.com/bots)",
    "facebookexternalhit/1.1 (+http://www.facebook.com/externalhit_uatext.php)",
    "curl/8.{v}.0",
    "Wget/1.21.3",
    "python-requests/2.{v}.0",
    "Lynx/2.9.0dev.10 libwww-FM/2.14 SSL-MM/1.4.1 GNUTLS/3.7.1",
    "w3m/0.5.3+git20230121",
    "Mozilla/5.0 (PlayStation; PlayStation 5/8.20) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/15.4 Safari/605.1.15",
    "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) SamsungBrowser/23.0 Chrome/{v}.0.0.0 Safari/537.36",
)
_HEADERS = {
    "Accept": (
        "*/*",
        "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8",
        "text/html,application/xhtml+xml,application/xml;q=0.9,image/apng,*/*;q=0.8,application/signed-exchange;v=b3;q=0.7",
        "application/json",
    ),
    "Accept_Language": ("de-DE,de;q=0.9,en-US;q=0.8,en;q=0.7", "fr-CH, fr;q=0.9, *;q=0.5", "zh-TW", "en", "*"),
    "Accept_Encoding": ("gzip, deflate, br, zstd", "gzip;q=1.0, identity; q=0.5, *;q=0", "identity"),
    "Sec_CH_UA": (
        '"Chromium";v="128", "Not;A=Brand";v="24", "Google Chrome";v="128"',
        '"Not_A Brand";v="8", "Chromium";v="120", "Microsoft Edge";v="120"',
        '" Not A;Brand";v="99", "Chromium";v="90", "Google Chrome";v="90"',
        '"Not/A)Brand";v="8", "Chromium";v="126"',
        '"Not?A_Brand";v="99", "Opera";v="105", "Chromium";v="119"',
        '"Not(A:Brand";v="99", "Brave";v="133", "Chromium";v="133"',
    ),
    "Sec_CH_UA_Platform": ('"Windows"', '"macOS"', '"Linux"', '"Chrome OS"'),
    "Sec_CH_UA_Mobile": ("?0", "?1"),
    "Sec_Fetch_Site": ("same-origin", "none", "cross-site"),
    "Upgrade_Insecure_Requests": ("1",),
    "Cache_Control": ("max-age=0", "no-cache"),
    "If_None_Match": ('W/"65f1-18c"', '"5d8c72a5edda8d6a:3239"', '"a", W/"b"'),
    "If_Modified_Since": ("Sat, 29 Nov 2025 19:43:31 GMT",),
    "Priority": ("u=0, i", "u=1"),
    "DNT": ("1",),
    "From": ("googlebot(at)googlebot.com",),
    "Via": ("1.1 proxy.example (squid/5.7)", "2 edge"),
    "TE": ("trailers",),
    "Range": ("bytes=0-1023",),
    "Save_Data": ("on",),
    "traceparent": ("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",),
    "X_Requested_With": ("XMLHttpRequest", "com.example.app"),
    "Referer": (
        "https://www.google.com/",
        "https://duckduckgo.com/",
        "https://t.co/aB3dE",
        "android-app://com.example/",
    ),
}


def agent(random: Random) -> str:
    """A browser's name for itself, a program's, or a search engine's."""
    return random.choice(_AGENTS).replace("{v}", str(random.randint(100, 140)))


def headers(random: Random) -> dict[str, str]:
    """Some of what such programs send; ``_`` stands for ``-``."""
    return {name: random.choice(_HEADERS[name]) for name in random.sample(list(_HEADERS), random.randint(3, 9))}


def referrer(random: Random) -> str:
    """An address elsewhere, as a search engine or a mail program hands it on."""
    asked = quote_plus(random.choice((sentence, quoted, sql, name))(random)[:60].replace("\n", " "))
    path = random.choice(("", "/", "/search?q=", "/url?sa=t&q=", "/a/b-c_d_(e).html?x=1&q="))
    host = random.choice(("www.google.de", "search.example:8443", "news.example"))
    return f"https://{host}{path}{asked if path.endswith('=') else ''}"
