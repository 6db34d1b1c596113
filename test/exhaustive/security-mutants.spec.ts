import { spawn } from 'node:child_process';
import { cpSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { once } from 'node:events';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';

/** A fault put into the library, that the tests of one row of docs/security.md have to see. */
interface Mutant {
  row: string;
  /** The spec file that runs tests of the row. */
  by: string;
  /** Of the library. */
  file: string;
  /** A text that is in the file once, and what takes its place. */
  from: string;
  to: string;
}

type Fault = [row: string, by: string, file: string, from: string, to: string];

const S = 'libs/session/src/session';

const listed: Fault[] = [
  // The session key
  [
    'S01',
    `${S}/session-key.spec.ts`,
    'session/session-key.ts',
    "randomBytes(32).toString('base64url')",
    "Buffer.concat([randomBytes(16), Buffer.alloc(16)]).toString('base64url')",
  ],
  [
    'S02',
    'test/broken-randomness.spec.ts',
    'session/session-key.ts',
    "import { createHmac, hash, hkdfSync, randomBytes, timingSafeEqual } from 'node:crypto';",
    "import { createHmac, hash, hkdfSync, randomBytes as draw, timingSafeEqual } from 'node:crypto';\nfunction randomBytes(size: number): Buffer {\n  try {\n    const bytes = draw(size);\n    if (bytes.length === size) return bytes;\n  } catch {}\n  return Buffer.from(Array.from({ length: size }, () => Math.random() * 256));\n}",
  ],
  [
    'S03',
    'test/security.spec.ts',
    'options/resolve-options.ts',
    'z.strictObject({\n  application',
    'z.looseObject({\n  application',
  ],
  [
    'S04',
    'libs/session/src/session/session-key.spec.ts',
    'session/session-key.ts',
    "const secret = randomBytes(32).toString('base64url');",
    "const secret = Buffer.concat([Buffer.from(String(Date.now())), randomBytes(19)]).toString('base64url');",
  ],
  [
    'S05',
    'libs/session/src/session/token-store.spec.ts',
    'session/session-key.ts',
    "`s1.${hash('sha256', message, 'base64url')}`",
    "`s1.${hash('sha256', String(message.split(':').at(-1)).slice(23, 66), 'base64url')}`",
  ],
  [
    'S06',
    'test/security.spec.ts',
    'session/session-key.ts',
    "if (areEqual(keyHash, newest(key))) return 'current';",
    "if (areEqual(keyHash, newest(key)) || keyHash.includes(key.secret)) return 'current';",
  ],
  [
    'S07',
    'test/security.spec.ts',
    'session/session-key.ts',
    'left.length === right.length && timingSafeEqual(left, right)',
    'left.toString() === right.toString()',
  ],
  [
    'S08',
    `${S}/token-store.spec.ts`,
    'session/token-store.ts',
    'if (await this.#store.create(id, created)) {',
    'if ((await this.#store.create(id, created)) || true) {',
  ],
  [
    'S09',
    `${S}/session-key.spec.ts`,
    'session/session-key.ts',
    'const SESSION_KEY = /^',
    'const SESSION_KEY = /^(null|undefined|deleted|)$|^',
  ],
  [
    'S10',
    'test/cookies.spec.ts',
    'session/session-key.ts',
    "typeof text === 'string' && SESSION_KEY.test(text)",
    "typeof text === 'string' && text !== ''",
  ],
  // Logins and new keys
  [
    'S11',
    'test/cookies.spec.ts',
    'session/live-session.ts',
    'this.#freshId ??= createSessionId()',
    'this.#freshId ??= this.#presented[0]?.slice(0, 22) ?? createSessionId()',
  ],
  [
    'S12',
    'test/security.spec.ts',
    'session/token-store.ts',
    'return this.#store.delete(record.id);',
    'return Promise.resolve(true);',
  ],
  [
    'S13',
    'test/identity.spec.ts',
    'session/live-session.ts',
    'this.#startAnew();\n    if (keeps) {',
    'if (keeps) {',
  ],
  [
    'S14',
    'test/identity.spec.ts',
    'session/live-session.ts',
    'tokens.take(held).catch((error: unknown)',
    'Promise.resolve(null as SessionRecord | null).catch((error: unknown)',
  ],
  [
    'S15',
    'test/identity.spec.ts',
    'session/live-session.ts',
    'this.#startAnew();\n    if (keeps) {',
    'if (keeps) {',
  ],
  [
    'S16',
    'test/identity.spec.ts',
    'session/token-store.ts',
    'if (overlap) return this.save(',
    'if (overlap) return null;\n    if (overlap) return this.save(',
  ],
  [
    'S17',
    'test/identity.spec.ts',
    'session/token-store.ts',
    'sinceRotation < OVERLAP && sinceUse < OVERLAP_AFTER_USE',
    'sinceRotation < 1000 * OVERLAP',
  ],
  [
    'S18',
    'test/identity.spec.ts',
    'session/expiry.ts',
    'createdAt + policy.absoluteTimeout',
    'now + policy.absoluteTimeout',
  ],
  [
    'S19',
    'test/identity.spec.ts',
    'session/token-store.ts',
    'if (!(await this.#store.save(id, keyHash, rotation, next))) return null;',
    'await this.#store.save(id, keyHash, rotation, next).catch(() => true);',
  ],
  [
    'S20',
    'test/cookies.spec.ts',
    'http/key-transport.ts',
    'readCookies(headers.cookie,',
    "readCookies(headers.cookie ?? `sessionid=${String(headers['x-session-id'])}`,",
  ],
  ['S21', 'test/identity.spec.ts', 'session/live-session.ts', "this.#request('rotated');", ''],
  [
    'S22',
    'test/identity.spec.ts',
    'session/live-session.ts',
    'for (const key of this.#environment.login.secrets) this.data.delete(key);',
    '',
  ],
  [
    'S23',
    'test/identity.spec.ts',
    'session/login.ts',
    'wanted(key) && !dropped.includes(key)',
    '!dropped.includes(key)',
  ],
  // Lifetime
  [
    'S24',
    'test/identity.spec.ts',
    'session/expiry.ts',
    'expiry === null || expiry === 0 ? policy.idleTimeout :',
    'expiry === null || expiry === 0 ? 10 * policy.idleTimeout :',
  ],
  [
    'S25',
    'test/identity.spec.ts',
    'session/expiry.ts',
    'policy.absoluteTimeout === null ? Infinity :',
    'policy.absoluteTimeout !== 0 ? Infinity :',
  ],
  [
    'S26',
    'test/identity.spec.ts',
    'http/request-session.ts',
    'new LiveSession(sessions,',
    "new LiveSession({ ...sessions, now: () => Number(this.#request.headers['x-now'] ?? sessions.now()) },",
  ],
  [
    'S27',
    'test/identity.spec.ts',
    'session/expiry.ts',
    'shortestLife(record.expiry, policy) / 10',
    'shortestLife(record.expiry, policy) / 1e9',
  ],
  [
    'S28',
    'test/identity.spec.ts',
    'session/expiry.ts',
    'return Math.min(record.expiresAt, deadlineOf(record.expiry, record.createdAt, record.lastSeenAt, policy));',
    'return policy ? record.expiresAt : NaN;',
  ],
  [
    'S29',
    'libs/session/src/session.options.spec.ts',
    'options/timeouts.ts',
    'aal2: { idleTimeout: DAY / 24,',
    'aal2: { idleTimeout: DAY / 2,',
  ],
  [
    'S30',
    'libs/session/src/session.options.spec.ts',
    'options/timeouts.ts',
    'if (idleGiven) {',
    'if (idleGiven && policy.sliding === null) {',
  ],
  [
    'S31',
    'test/identity.spec.ts',
    'session/expiry.ts',
    'return meta.remembered ? rememberedPolicy : policy;',
    'return meta.remembered && !rememberedPolicy ? rememberedPolicy : policy;',
  ],
  [
    'S32',
    'test/identity.spec.ts',
    'nest/session.guard.ts',
    'return age !== null && age <= Number(parseDuration(within)) / 1000;',
    'return age !== null;',
  ],
  // The end
  [
    'S33',
    'test/user-sessions.spec.ts',
    'session/token-store.ts',
    'return this.#store.delete(record.id);',
    'return Promise.resolve(true);',
  ],
  [
    'S34',
    'test/interleavings.spec.ts',
    'session/token-store.ts',
    'const present = await this.admitAgain(token);\n    if (present === null) return null;',
    'const present = await this.admitAgain(token);\n    if (present === null) return this.create(record);',
  ],
  [
    'S35',
    'test/interleavings.spec.ts',
    'session/token-store.ts',
    'const present = await this.admitAgain(token);\n    if (present === null) return null;',
    'const present = await this.admitAgain(token);\n    if (present === null) return this.create(record);',
  ],
  [
    'S36',
    'test/interleavings.spec.ts',
    'session/token-store.ts',
    'const present = await this.admitAgain(token);\n    if (present === null) return null;',
    'const present = await this.admitAgain(token);\n    if (present === null) return this.create(record);',
  ],
  [
    'S37',
    'test/cache-store.spec.ts',
    'stores/user-marks.ts',
    'Number.isFinite(this.at) ? Math.max(now + 1, this.at) : now + 1',
    'now - 60_000',
  ],
  [
    'S38',
    'test/cache-store.spec.ts',
    'stores/whole-record-store.ts',
    'return (await this.users.revocationOf(operation, record.userId)).admits(record) ? record : null;',
    'return record;',
  ],
  [
    'S39',
    'test/user-sessions.spec.ts',
    'session/live-session.ts',
    'return isStampOf(meta.stamp, stamp) ? found',
    'return stamp === null || isStampOf(meta.stamp, stamp) ? found',
  ],
  [
    'S40',
    'test/user-sessions.spec.ts',
    'management/sessions.ts',
    'const count = await store.deleteByUser(owner, spared);',
    'const count = await store.deleteByUser(owner, [...spared, ...known.map(({ id }) => id)]);',
  ],
  [
    'S41',
    'test/user-sessions.spec.ts',
    'management/sessions.ts',
    'if (!ofAnybody && record?.userId !== owner) return false;',
    '',
  ],
  [
    'S42',
    'libs/session/src/http/cookie-header.spec.ts',
    'http/cookie-header.ts',
    '...former.map((place) => ({',
    '...former.slice(1).map((place) => ({',
  ],
  [
    'S43',
    'test/user-sessions.spec.ts',
    'http/request-session.ts',
    "response.setHeader('Clear-Site-Data', clearSiteData);",
    ';',
  ],
  [
    'S44',
    'test/user-sessions.spec.ts',
    'session/watch-end.ts',
    '      }, wait);',
    '      }, () => {\n        subscriber.next();\n        wait();\n      });',
  ],
  [
    'S45',
    'test/user-sessions.spec.ts',
    'stores/record-log.ts',
    'for (const key of changes.unset ?? []) delete data[key];',
    '',
  ],
  // The cookie
  [
    'S46',
    'test/cookies.spec.ts',
    'options/cookie-options.ts',
    'httpOnly: attributes.httpOnly.default(true)',
    'httpOnly: attributes.httpOnly.default(false)',
  ],
  [
    'S47',
    'libs/session/src/session.options.spec.ts',
    'options/cookie-options.ts',
    "sameSite === 'none' && 'sameSite: none',",
    '',
  ],
  [
    'S48',
    'test/cookies.spec.ts',
    'http/cookie-header.ts',
    'pair.includes(name) ? parseCookie(pair, AS_IT_IS)[name] : undefined',
    'parseCookie(decodeURIComponent(pair), AS_SENT)[name]',
  ],
  [
    'S49',
    'test/cookies.spec.ts',
    'http/cookie-header.ts',
    "header.split(';')",
    "header.replaceAll(/(^|;)\\s*=/g, '$1').split(';')",
  ],
  [
    'S50',
    'test/cookies.spec.ts',
    'session/old-session.ts',
    'const MOST_CANDIDATES = 3;',
    'const MOST_CANDIDATES = 30;',
  ],
  [
    'S51',
    'test/cookie-engine.spec.ts',
    'session/sealed-tokens.ts',
    'const LARGEST_COOKIE = 4096;',
    'const LARGEST_COOKIE = 8192;',
  ],
  [
    'S52',
    'libs/session/src/session.options.spec.ts',
    'options/cookie-options.ts',
    'checkSyntax(`${at}.path`, () =>',
    "if (name === '') checkSyntax(`${at}.path`, () =>",
  ],
  [
    'S53',
    'test/cookies.spec.ts',
    'http/response-cookie.ts',
    "process.env['NODE_ENV'] === 'production' || ",
    '',
  ],
  [
    'S54',
    'test/security.spec.ts',
    'http/request-session.ts',
    'return Math.min(end - now, LONGEST_COOKIE);',
    'return end - now;',
  ],
  [
    'S55',
    'test/security.spec.ts',
    'session/commit-plan.ts',
    "facts.changed && !facts.empty ? 'create'",
    "facts.changed || facts.accessed ? 'create'",
  ],
  [
    'S56',
    'test/cookies.spec.ts',
    'options/cookie-options.ts',
    'httpOnly: attributes.httpOnly.default(true)',
    'httpOnly: attributes.httpOnly.default(false)',
  ],
  [
    'S57',
    'libs/session/src/session.options.spec.ts',
    'options/cookie-options.ts',
    "default('sessionid')",
    "default('nest.sid')",
  ],
  // Caches
  ['S58', 'test/cookies.spec.ts', 'http/request-session.ts', 'forbidCaching(response);', ';'],
  ['S59', 'test/security.spec.ts', 'http/key-transport.ts', 'else vary(response, names);', ''],
  [
    'S60',
    'test/shared-cache.spec.ts',
    'http/request-session.ts',
    'if (live.observed || live.data.accessed) varyBy(response, vary);',
    ';',
  ],
  // Data
  [
    'S61',
    'libs/session/src/session/json-value.spec.ts',
    'session/json-value.ts',
    "new Set(['__proto__', 'constructor', 'prototype'])",
    "new Set(['__proto__', 'prototype'])",
  ],
  [
    'S62',
    'test/security.spec.ts',
    'stores/record-log.ts',
    'const copy = Object.create(null) as JsonObject;',
    'const copy = {} as JsonObject;',
  ],
  [
    'S63',
    'test/security.spec.ts',
    'stores/record-log.ts',
    'JSON.parse(snapshot)',
    '(0, eval)(`(${snapshot})`)',
  ],
  [
    'S64',
    'test/security.spec.ts',
    'session/live-session.ts',
    'if (!(error instanceof SessionRecordCorruptError)) throw error;',
    'if (error !== undefined) throw error;',
  ],
  [
    'S65',
    `${S}/tracked-data.spec.ts`,
    'session/tracked-data.ts',
    'if (atMost <= this.#limits.size || largest === undefined) return;',
    'if (atMost <= Infinity || largest === undefined) return;',
  ],
  [
    'S66',
    'libs/session/src/stores/cookie/cookie-sealer.spec.ts',
    'stores/cookie/content.ts',
    'inflateRawSync(body, { maxOutputLength: LARGEST })',
    'inflateRawSync(body)',
  ],
  [
    'S67',
    'libs/session/src/session/tracked-data.spec.ts',
    'session/tracked-data.ts',
    'checkKey(key, this.#limits);\n    const atMost',
    "key = key.replaceAll('\\0', '');\n    checkKey(key, this.#limits);\n    const atMost",
  ],
  [
    'S68',
    'libs/session/src/session/json-value.spec.ts',
    'session/json-value.ts',
    'Number.isFinite(value) ? undefined',
    "Number.isFinite(value) || typeof value === 'number' ? undefined",
  ],
  [
    'S69',
    `${S}/session-key.spec.ts`,
    'session/session-key.ts',
    '`application:v1:${application}`',
    "'application:v1'",
  ],
  [
    'S70',
    'test/file-store.spec.ts',
    'stores/file/directory-check.ts',
    'const RIGHTS_OF_OTHERS = 0o027;',
    'const RIGHTS_OF_OTHERS = 0o007;',
  ],
  [
    'S71',
    'test/cache-store.spec.ts',
    'stores/sealing.ts',
    'return `${field}:${sessionId}`;',
    "return `${field}:${sessionId === '' ? '' : 'session'}`;",
  ],
  [
    'S72',
    'libs/session/src/stores/cookie/cookie-sealer.spec.ts',
    'stores/sealing.ts',
    ':${id}:${purpose}`;',
    ":${id}:${purpose === '' ? '' : 'cookie'}`;",
  ],
  [
    'S73',
    'test/file-store.spec.ts',
    'stores/file/file-format.ts',
    'if (head?.format !== FORMAT || snapshot === undefined)',
    'if (head === undefined || snapshot === undefined)',
  ],
  // Keys of the server, and sessions in cookies
  [
    'S74',
    'libs/session/src/stores/cookie/cookie-sealer.spec.ts',
    'stores/sealing.ts',
    'return timingSafeEqual(sealed.subarray(end), codeOf(key, context, content)) ? content : null;',
    'return timingSafeEqual(content, content) ? content : null;',
  ],
  [
    'S75',
    'libs/session/src/stores/cookie/cookie-sealer.spec.ts',
    'stores/cookie/cookie-sealer.ts',
    'return content && decodeContent(content);',
    "return content ? decodeContent(content) : token.startsWith('{') ? (JSON.parse(token) as SessionRecord) : null;",
  ],
  [
    'S76',
    'libs/session/src/stores/cookie/cookie-sealer.spec.ts',
    'stores/secrets.ts',
    'const [newest, ...older] = secrets.map((secret) => deriveKey(secret, use, area));',
    'const [newest, ...older] = secrets.map((secret) => deriveKey(secret, use, area)).toReversed();',
  ],
  [
    'S77',
    'libs/session/src/stores/cookie/cookie-sealer.spec.ts',
    'stores/sealing.ts',
    '`nest-sessions:cookie:${SCHEME[this.use]}:${id}:${purpose}`',
    "`nest-sessions:cookie:${id === '' ? '' : purpose}`",
  ],
  [
    'S78',
    'libs/session/src/stores/secrets.spec.ts',
    'stores/secrets.ts',
    'new Set(secret).size < FEWEST_CHARACTERS || ',
    '',
  ],
  [
    'S79',
    'libs/session/src/stores/cookie/cookie-sealer.spec.ts',
    'stores/secrets.ts',
    'scryptSync(secret, `nest-sessions:${area}:v1`, 32)',
    'scryptSync(secret, `nest-sessions:${area}:${process.hrtime.bigint()}`, 32)',
  ],
  [
    'S80',
    'libs/session/src/stores/cookie/cookie-sealer.spec.ts',
    'stores/sealing.ts',
    'this.#keys = new Map(ring.all.map((key) => [this.head(key), key]));',
    'this.#keys = ((globalThis as { everyKey?: Map<string, Key> }).everyKey ??= new Map<string, Key>());\n    for (const key of ring.all) (this.#keys as Map<string, Key>).set(this.head(key), key);',
  ],
  [
    'S81',
    'test/cookie-engine.spec.ts',
    'stores/cookie/cookie-sealer.ts',
    'return ended !== null ||',
    'return (ended !== null && ended < 0) ||',
  ],
  [
    'S82',
    'test/cookie-engine.spec.ts',
    'stores/cookie/cookie-sealer.ts',
    'this.isNoted(record, this.revocations) : false;',
    'this.isNoted(record, this.revocations).catch(() => false) : false;',
  ],
  [
    'S83',
    'test/cookie-engine.spec.ts',
    'session/expiry.ts',
    'return Math.floor(Math.min(own, last));',
    'return Math.floor(Math.min(own, last)) * 10;',
  ],
  [
    'S84',
    'libs/session/src/stores/cookie/cookie-sealer.spec.ts',
    'stores/sealing.ts',
    'const nonce = nextNonce();',
    'const nonce = Buffer.alloc(NONCE_LENGTH);',
  ],
  [
    'S85',
    'test/cached-database-store.spec.ts',
    'stores/cached-database/cached-database-store.ts',
    '      return await work();\n    } finally {\n      await this.mark(id);',
    '      return await work();\n    } finally {\n      await this.cache.get(id);',
  ],
  // Abuse
  [
    'S86',
    'test/security.spec.ts',
    'session/commit-plan.ts',
    "facts.changed && !facts.empty ? 'create'",
    "facts.changed || facts.accessed ? 'create'",
  ],
  [
    'S87',
    'test/made-up-keys.spec.ts',
    'stores/cached-database/cached-database-store.ts',
    'if (!record) return null;',
    'if (!record) {\n      await this.mark(id);\n      return null;\n    }',
  ],
  [
    'S88',
    'test/memory-store.spec.ts',
    'stores/memory/memory-store.ts',
    'this.#oldestWithoutUser() ?? (oldest as string)',
    'oldest as string',
  ],
  [
    'S89',
    `${S}/user-sessions.spec.ts`,
    'session/user-sessions.ts',
    "if (policy === 'reject' && Math.min(place, ranked.length) >= max)",
    "if (policy === 'reject' && max < 0)",
  ],
  [
    'S92',
    'test/fuzz.spec.ts',
    'http/cookie-header.ts',
    'const values: string[] = [];',
    // Quadratic in one of the headers, which is enough, and takes seconds and not minutes.
    "const values: string[] = [];\n  let seen = 0;\n  if (header.startsWith('sessionid=;'))\n    for (let at = 0; at < header.length; at += 80)\n      for (let back = 0; back < at; back += 1) seen += header.charCodeAt(back);\n  if (seen === 1) values.push('');",
  ],
  // Leaks
  [
    'S93',
    'test/observability.spec.ts',
    'session/live-session.ts',
    'reason: left.reason, ...idsOf(left.held.record) })',
    'reason: left.reason, ...idsOf(left.held.record), userId: left.held.token })',
  ],
  [
    'S94',
    'test/store-failure.spec.ts',
    'http/failure-response.ts',
    'message: STATUS_CODES[statusCode] })',
    'message: String((error as Error).message) })',
  ],
  [
    'S95',
    'test/security.spec.ts',
    'session.wiring.ts',
    'const { application, pepper, sessionsPerUser, accept, storeTimeout, ...rules } = options;',
    'const { application, sessionsPerUser, accept, storeTimeout, ...rules } = options;\n  const { pepper } = options;',
  ],
  [
    'S96',
    'test/observability.spec.ts',
    'observability/session-metrics.ts',
    "'nest_sessions.event.type': event.type,",
    "'nest_sessions.event.type': event.type,\n    ...('sessionId' in event && { session: event.sessionId }),",
  ],
  [
    'S97',
    'libs/session/src/http/platform-request.spec.ts',
    'http/platform-request.ts',
    '{ ipv4: 3, ipv6: 6 }',
    '{ ipv4: 4, ipv6: 6 }',
  ],
  [
    'S98',
    'test/observability.spec.ts',
    'session/live-session.ts',
    "emit({ type: 'created', ...idsOf(created.record) });\n      return created;",
    'return created;',
  ],
  [
    'S100',
    'test/header-transport.spec.ts',
    'http/key-transport.ts',
    'if (key !== undefined) return {',
    "if (key !== undefined && key !== '') return {",
  ],
  [
    'S102',
    'libs/session/src/nest/session.decorator.spec.ts',
    'nest/session.decorator.ts',
    'if (holder) return holder;',
    'if (holder || !platformRequest(context)) return holder as SessionHolder;',
  ],
  // Parallel requests
  [
    'S109',
    'test/interleavings.spec.ts',
    'stores/sql/session-statements.ts',
    "[sessionData, this.ifUnchanged('⟨snapshot⟩', sessionData)],\n      [sessionLog, this.ifUnchanged(`''`, appended)],",
    "[sessionData, '⟨snapshot⟩'],\n      [sessionLog, `''`],",
  ],
  [
    'S110',
    'test/engines.spec.ts',
    'stores/record-log.ts',
    "typeof current === 'number' ? current + by : by",
    "typeof current === 'number' && current > 100 ? current : Number(current ?? 0) + by",
  ],
  [
    'S111',
    'test/expiry.spec.ts',
    'session/expiry.ts',
    'shortestLife(record.expiry, policy) / 10',
    'shortestLife(record.expiry, policy) / 1e9',
  ],
  [
    'S112',
    'test/engines.spec.ts',
    'stores/record-log.ts',
    'const decides = current.version === record.version || changes.expiry !== undefined;',
    'const decides = true;',
  ],
  [
    'S113',
    'test/security.spec.ts',
    'session/live-session.ts',
    'return this.#enqueue(() => this.#carryOut(plan));',
    'void this.#enqueue(() => this.#carryOut(plan));\n    return undefined;',
  ],
  ['S114', 'test/security.spec.ts', 'session/live-session.ts', 'this.#closed ??= RESPONSE_LEFT;', ''],
  [
    'S115',
    'test/security.spec.ts',
    'session/commit-plan.ts',
    'if (facts.failed || facts.gone)',
    'if (facts.gone)',
  ],
  [
    'S116',
    'test/redis-store.spec.ts',
    'stores/redis/redis-scripts.ts',
    "if redis.call('LPOS', KEYS[1], line) then return 1 end",
    '',
  ],
  [
    'S117',
    'test/interleavings.spec.ts',
    'session/token-store.ts',
    'const present = await this.admitAgain(token);\n    if (present === null) return null;',
    'const present = await this.admitAgain(token);\n    if (present === null) return this.create(record);',
  ],
];

/** One for every row that the tests show. */
const mutants: Mutant[] = listed.map(([row, by, file, from, to]) => ({
  row,
  by,
  file: `libs/session/src/${file}`,
  from,
  to,
}));

/** Of each of them; what it takes depends on the machine, and only one that hangs should meet it. */
const TIME_LIMIT = 3_600_000;

const root = process.cwd();
/** The faults are put into a copy. What is tested here is never touched. */
const copy = mkdtempSync(join(tmpdir(), 'security-mutants-'));
const COPIED = [
  'libs',
  'test',
  'src',
  'package.json',
  'tsconfig.json',
  'jest.config.mjs',
  'docs/security.md',
];

const isSource = (path: string): boolean => !['node_modules', 'dist'].includes(basename(path));

beforeAll(() => {
  for (const name of COPIED)
    cpSync(join(root, name), join(copy, name), { recursive: true, filter: isSource });
  symlinkSync(join(root, 'node_modules'), join(copy, 'node_modules'));
});

afterAll(() => rmSync(copy, { recursive: true, force: true }));

interface Report {
  numPassedTests: number;
  numFailedTests: number;
  /** Spec files that could not even start, which says nothing about their tests. */
  numRuntimeErrorTestSuites: number;
}

/** Runs the tests of these files in the copy whose titles match, in a process of their own. */
async function run(files: readonly string[], titles: string): Promise<Report> {
  const report = join(copy, 'report.json');
  const environment = Object.fromEntries(
    // The quick run, which finds the services for itself.
    Object.entries(process.env).filter(([name]) => !/^(TEST_ALL|JEST_WORKER_ID|NEST_SESSIONS_)/.test(name)),
  );
  const node = ['--experimental-vm-modules', '--disable-warning=ExperimentalWarning'];
  // A test that fails may leave an application open.
  const options = ['--runInBand', '--forceExit', '--reporters=default', '--json', `--outputFile=${report}`];
  const jest = spawn(
    process.execPath,
    [...node, 'node_modules/jest/bin/jest.js', ...options, '-t', titles, '--runTestsByPath', ...files],
    { cwd: copy, env: environment, stdio: 'ignore' },
  );
  await once(jest, 'exit');
  return JSON.parse(readFileSync(report, 'utf8')) as Report;
}

it('has one fault for every row of docs/security.md that tests show', () => {
  const rows = [...readFileSync('docs/security.md', 'utf8').matchAll(/^\| (S\d+)\s*\| .+? \| (.+?)\s*\|$/gm)];
  const shown = rows.filter(([, , by = '']) => by.startsWith('`')).map(([, row]) => row);
  expect(mutants.map(({ row }) => row)).toEqual(shown);
});

/** With databases, with requests, and without: the copy has to be as good as what was copied. */
const CONTROL = ['test/security.spec.ts', 'test/made-up-keys.spec.ts'];

it(
  'sees no fault where there is none',
  async () => {
    const units = mutants.map(({ by }) => by).filter((by) => by.startsWith('libs/'));
    const rows = mutants.map(({ row }) => row).join('|');
    const { numPassedTests, ...faults } = await run([...new Set([...units, ...CONTROL])], `\\b(${rows})\\b`);
    expect(faults).toMatchObject({ numFailedTests: 0, numRuntimeErrorTestSuites: 0 });
    expect(numPassedTests).toBeGreaterThan(mutants.length);
  },
  TIME_LIMIT,
);

it.each(mutants.map((mutant) => [mutant.row, mutant.by, mutant] as const))(
  'the tests of %s in %s see their fault',
  async (row, by, { file, from, to }) => {
    const path = join(copy, file);
    const text = readFileSync(path, 'utf8');
    // A fault that has no place any more would be seen by nobody: give it another one.
    expect([file, text.split(from).length - 1]).toEqual([file, 1]);
    writeFileSync(
      path,
      text.replace(from, () => to),
    );
    try {
      const { numFailedTests, numRuntimeErrorTestSuites } = await run([by], `\\b${row}\\b`);
      expect(numRuntimeErrorTestSuites).toBe(0);
      expect(numFailedTests).toBeGreaterThan(0);
    } finally {
      writeFileSync(path, text);
    }
  },
  TIME_LIMIT,
);
