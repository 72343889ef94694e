//! Web interfaces against what the web platform expects: each line is an expression and its value.

use super::{body, fake};

fn check(expression: &str, expected: &str) {
    let mut realm = body(&format!("return JSON.stringify({expression})"));
    let result = realm.run("f", "mutation", "[{}]", &mut fake());
    let result = result.unwrap_or_else(|ended| panic!("{expression}: {ended:?}"));
    let text: String = serde_json::from_str(&result).unwrap_or(result);
    assert_eq!(text, expected, "{expression}");
}

fn throws(expression: &str, expected: &str) {
    check(
        &format!(
            "(() => {{ try {{ {expression}; return 'nothing' }} catch (e) {{ return e.name }} }})()"
        ),
        &format!("\"{expected}\""),
    );
}

#[test]
fn addresses() {
    check(
        "new URL('../a b?x=1#h', 'https://user:pw@example.com:8443/dir/file').href",
        r#""https://user:pw@example.com:8443/a%20b?x=1#h""#,
    );
    check(
        "(({ protocol, username, password, host, hostname, port, pathname, search, hash, origin }) => [protocol, username, password, host, hostname, port, pathname, search, hash, origin])(new URL('HTTPS://u:p@EXAMPLE.com:443/a/./b?q#f'))",
        r##"["https:","u","p","example.com","example.com","","/a/b","?q","#f","https://example.com"]"##,
    );
    check(
        "(() => { const u = new URL('http://a/b?c=1'); u.searchParams.append('d', 'e f&'); u.port = '81'; u.hash = 'x'; return u.href })()",
        r#""http://a:81/b?c=1&d=e+f%26#x""#,
    );
    check(
        "(() => { const u = new URL('http://a/'); u.search = '?x=1'; const p = u.searchParams; u.href = 'http://b/?y=2'; return [p.get('x'), p.get('y')] })()",
        r#"[null,"2"]"#,
    );
    check(
        "[URL.canParse('nope'), URL.canParse('/x', 'http://a'), URL.parse('nope')]",
        "[false,true,null]",
    );
    throws("new URL('nope')", "TypeError");
    check("[...new URLSearchParams('?a=1&b=%20+&a=3')]", r#"[["a","1"],["b","  "],["a","3"]]"#);
    check(
        "(() => { const p = new URLSearchParams({ z: 1, a: 'é' }); p.sort(); p.set('z', 2); p.delete('none'); return [p.toString(), p.size, p.has('a', 'é'), p.getAll('z')] })()",
        r#"["a=%C3%A9&z=2",2,true,["2"]]"#,
    );
}

#[test]
fn texts_and_bytes() {
    check(
        "[...new TextEncoder().encode('aé€😀\\ud800')]",
        "[97,195,169,226,130,172,240,159,152,128,239,191,189]",
    );
    check("new TextEncoder().encodeInto('é€', new Uint8Array(3))", r#"{"read":1,"written":2}"#);
    check(
        "new TextDecoder().decode(new Uint8Array([0xef, 0xbb, 0xbf, 97, 0xc3, 0xa9, 0xff, 0xe2, 0x82]))",
        "\"aé\u{fffd}\u{fffd}\"",
    );
    check(
        "(() => { const d = new TextDecoder(); return d.decode(new Uint8Array([0xe2, 0x82]), { stream: true }) + d.decode(new Uint8Array([0xac])) })()",
        "\"€\"",
    );
    throws("new TextDecoder('utf-8', { fatal: true }).decode(new Uint8Array([0xff]))", "TypeError");
    throws("new TextDecoder('klingon')", "RangeError");
    check(
        "[new TextDecoder('latin1').encoding, new TextDecoder('utf-16le').decode(new Uint8Array([0x61, 0, 0xac, 0x20]))]",
        r#"["windows-1252","a€"]"#,
    );
    check(
        "[btoa('hi'), atob('aGk='), (() => { try { btoa('€') } catch (e) { return e.name } })()]",
        r#"["aGk=","hi","InvalidCharacterError"]"#,
    );
}

#[test]
fn clones_are_deep_and_keep_cycles() {
    check(
        "(() => { const o = { d: new Date(5), m: new Map([[1, { x: [1n] }]]), s: new Set(['a']), b: new Uint8Array([1, 2]) }; o.self = o; const c = structuredClone(o); return [c !== o, c.self === c, c.d.getTime(), c.m.get(1).x[0] === 1n, c.m !== o.m, [...c.s], [...c.b], c.b.buffer !== o.b.buffer] })()",
        r#"[true,true,5,true,true,["a"],[1,2],true]"#,
    );
    throws("structuredClone(() => 1)", "DataCloneError");
    check(
        "(() => { const e = structuredClone(new RangeError('far')); return [e instanceof RangeError, e.message] })()",
        r#"[true,"far"]"#,
    );
}

#[test]
fn events_and_aborts() {
    check(
        "(() => { const t = new EventTarget(); const seen = []; const f = (e) => seen.push(e.type); t.addEventListener('x', f); t.addEventListener('x', f); t.addEventListener('x', () => seen.push('once'), { once: true }); t.dispatchEvent(new Event('x')); t.dispatchEvent(new Event('x')); t.removeEventListener('x', f); t.dispatchEvent(new Event('x')); return seen })()",
        r#"["x","once","x"]"#,
    );
    check(
        "(() => { const c = new AbortController(); const seen = []; c.signal.onabort = () => seen.push('on'); c.abort(); c.abort('again'); return [seen, c.signal.aborted, c.signal.reason.name] })()",
        r#"[["on"],true,"AbortError"]"#,
    );
    check(
        "AbortSignal.any([AbortSignal.abort('why'), new AbortController().signal]).reason",
        r#""why""#,
    );
    check(
        "(() => { const e = new CustomEvent('x', { detail: 7, cancelable: true }); e.preventDefault(); return [e.detail, e.defaultPrevented] })()",
        "[7,true]",
    );
    throws("AbortSignal.abort().throwIfAborted()", "AbortError");
    throws("new AbortSignal()", "TypeError");
}

#[test]
fn headers_forms_and_blobs() {
    check(
        "(() => { const h = new Headers({ 'X-B': '1', a: ' 2 ' }); h.append('x-b', '3'); h.append('Set-Cookie', 'a=1'); h.append('set-cookie', 'b=2'); return [[...h], h.getSetCookie(), h.get('none')] })()",
        r#"[[["a","2"],["set-cookie","a=1"],["set-cookie","b=2"],["x-b","1, 3"]],["a=1","b=2"],null]"#,
    );
    throws("new Headers({ 'bad name': '1' })", "TypeError");
    throws("new Headers([['a', 'b\\nc']])", "TypeError");
    check(
        "(() => { const f = new FormData(); f.append('a', 1); f.append('file', new Blob(['x'], { type: 'Text/Plain' })); f.set('a', 2); const file = f.get('file'); return [[...f.keys()], f.get('a'), file.name, file.type, file.size] })()",
        r#"[["a","file"],"2","blob","text/plain",1]"#,
    );
    check("await new Blob(['aé', new Uint8Array([98])]).slice(1).text()", "\"éb\"");
}

#[test]
fn random_bytes_come_from_the_host() {
    check(
        "[crypto.getRandomValues(new Uint8Array(10))[9], crypto.randomUUID().length, crypto.randomUUID()[14]]",
        "[7,36,\"4\"]",
    );
    throws("crypto.getRandomValues(new Float64Array(1))", "TypeMismatchError");
    throws("crypto.getRandomValues(new Uint8Array(65537))", "QuotaExceededError");
}
