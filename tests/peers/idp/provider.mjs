// The authorization server of the tests: oidc-provider, OpenID-certified, on loopback.
//
// All that decides about tokens is oidc-provider's own code. This file registers the clients, keeps the tokens in memory and
// opens a side channel under /_rig/ by which tests change lifetimes, make /token fail and count requests.
//
//   node provider.mjs '{"httpPort":..., "httpsPort":..., "certificate":FILE, "key":FILE, "clientCertificate":FILE, "domain":...}'
//
// Prints "ready" when it listens, and ends when its standard input does.
import * as crypto from 'node:crypto';
import * as fs from 'node:fs';
import * as http from 'node:http';
import * as https from 'node:https';

import { Provider } from 'oidc-provider';

const options = JSON.parse(process.argv[2]);
const ROBOT = `robot@${options.domain}`;
const DEVICE_GRANT = 'urn:ietf:params:oauth:grant-type:device_code';

// ---- what tests may change, by POST /_rig/configure
const settings = () => ({
  ttl: { // seconds
    AccessToken: 3600, ClientCredentials: 3600, RefreshToken: 86400, DeviceCode: 600,
    AuthorizationCode: 60, IdToken: 3600, Interaction: 3600, Session: 86400, Grant: 86400,
  },
  rotate: true, // a new refresh token with each refresh; the old one used again revokes the whole grant
  interval: 1, // seconds between polls of the device grant; 0: not said
  token_bits: 256, // of a new access token: 12000 makes it 2000 characters long
  faults: [], // {path, times, delay_s, drop, status, headers, body}; times < 0: always
});
let current = settings();
let counts = {};

// ---- storage. oidc-provider's own in-memory adapter forgets live tokens after 1000 entries.
const database = new Map();
const grants = new Map();
const GRANTABLE = new Set(['AccessToken', 'AuthorizationCode', 'RefreshToken', 'DeviceCode']);

class MemoryAdapter {
  constructor(model) { this.model = model; }

  key(id) { return `${this.model}:${id}`; }

  async upsert(id, payload) { // oidc-provider itself judges what has expired
    const key = this.key(id);
    database.set(key, payload);
    if (this.model === 'Session') database.set(`uid:${payload.uid}`, id);
    if (payload.userCode) database.set(`userCode:${payload.userCode}`, id);
    if (!GRANTABLE.has(this.model) || !payload.grantId) return;
    if (!grants.has(payload.grantId)) grants.set(payload.grantId, new Set());
    grants.get(payload.grantId).add(key);
  }

  async find(id) { return database.get(this.key(id)); }

  async findByUid(uid) { return this.find(database.get(`uid:${uid}`)); }

  async findByUserCode(code) { return this.find(database.get(`userCode:${code}`)); }

  async destroy(id) { database.delete(this.key(id)); }

  async consume(id) { database.get(this.key(id)).consumed = Math.floor(Date.now() / 1000); }

  async revokeByGrantId(grantId) {
    for (const key of grants.get(grantId) ?? []) database.delete(key);
    grants.delete(grantId);
  }
}

// ---- the clients; rig.py names them
const exported = (key, extra) => ({ ...key.export({ format: 'jwk' }), use: 'sig', ...extra });
const serverKey = crypto.generateKeyPairSync('rsa', { modulusLength: 2048 }).privateKey;
const clientCertificate = new crypto.X509Certificate(fs.readFileSync(options.clientCertificate));
const clientKey = exported(clientCertificate.publicKey, { alg: 'PS256' });

const native = {
  application_type: 'native', // any port is accepted (RFC 8252 section 7.3)
  redirect_uris: ['http://127.0.0.1/callback', 'http://localhost/callback', 'http://[::1]/callback'],
};
const withoutPages = { redirect_uris: [], response_types: [] };
const everyGrant = { ...native, response_types: ['code'], grant_types: ['authorization_code', 'refresh_token', DEVICE_GRANT] };
const clients = [
  { client_id: 'device', token_endpoint_auth_method: 'none', grant_types: [DEVICE_GRANT, 'refresh_token'], ...withoutPages, application_type: 'native' },
  { client_id: 'code', token_endpoint_auth_method: 'none', ...native, response_types: ['code'], grant_types: ['authorization_code', 'refresh_token'] },
  { client_id: 'basic', client_secret: 'basic-secret', token_endpoint_auth_method: 'client_secret_basic', ...everyGrant },
  { client_id: 'post', client_secret: 'post-secret', token_endpoint_auth_method: 'client_secret_post', ...everyGrant },
  { client_id: 'robot', client_secret: 'robot-secret', token_endpoint_auth_method: 'client_secret_post', grant_types: ['client_credentials'], ...withoutPages },
  {
    client_id: 'certificate', token_endpoint_auth_method: 'private_key_jwt', token_endpoint_auth_signing_alg: 'PS256',
    jwks: { keys: [clientKey] }, grant_types: ['client_credentials'], ...withoutPages,
  },
  { client_id: 'dovecot', client_secret: 'dovecot-secret', token_endpoint_auth_method: 'client_secret_basic', grant_types: [], ...withoutPages },
];

const configuration = {
  adapter: MemoryAdapter,
  clients,
  jwks: { keys: [exported(serverKey, { kid: 'server', alg: 'RS256' })] },
  scopes: ['openid', 'offline_access', 'mail', 'smtp', 'pop'],
  cookies: { keys: ['of no importance'] },
  pkce: { required: (ctx, client) => client.clientAuthMethod === 'none' },
  rotateRefreshToken: () => current.rotate,
  issueRefreshToken: async (ctx, client) => client.grantTypeAllowed('refresh_token'),
  expiresWithSession: async () => false,
  findAccount: (ctx, sub) => (sub.endsWith(`@${options.domain}`) ? { accountId: sub, claims: async () => ({ sub }) } : undefined),
  extraTokenClaims: async (ctx, token) => ({ username: token.accountId ?? ROBOT }), // Dovecot learns from it whose token it is
  formats: { bitsOfOpaqueRandomness: (ctx, token) => (/^(AccessToken|ClientCredentials)$/.test(token.kind) ? current.token_bits : 256) },
  features: {
    clientCredentials: { enabled: true },
    devInteractions: { enabled: true }, // the pages on which a person signs in
    deviceFlow: { enabled: true },
    introspection: { enabled: true },
    resourceIndicators: { enabled: false },
    revocation: { enabled: true, allowedPolicy: async (ctx, client, token) => token.clientId === client.clientId },
  },
  ttl: Object.fromEntries(Object.keys(current.ttl).map((name) => [name, () => current.ttl[name]])),
};

// ---- the side channel
async function revoke(provider, token) {
  for (const kind of ['AccessToken', 'RefreshToken', 'ClientCredentials']) {
    const found = await provider[kind].find(token, { ignoreExpiration: true });
    if (!found) continue;
    if (found.grantId) await new MemoryAdapter('Grant').revokeByGrantId(found.grantId);
    await found.destroy();
    return true;
  }
  return false;
}

async function sideChannel(provider, ctx) {
  const chunks = [];
  for await (const chunk of ctx.req) chunks.push(chunk);
  const asked = JSON.parse(Buffer.concat(chunks).toString() || '{}');
  switch (ctx.path) {
    case '/_rig/configure':
      current = { ...current, ...asked, ttl: { ...current.ttl, ...asked.ttl } };
      ctx.body = current;
      break;
    case '/_rig/reset':
      current = settings();
      counts = {};
      ctx.body = current;
      break;
    case '/_rig/revoke': ctx.body = { revoked: await revoke(provider, asked.token) }; break;
    case '/_rig/stats': ctx.body = counts; break;
    default: ctx.status = 404;
  }
}

const count = (name) => { counts[name] = (counts[name] ?? 0) + 1; };

/** Do what a test wants to go wrong; true if that was the whole answer. */
async function fail(ctx) {
  const fault = current.faults.find((candidate) => candidate.path === ctx.path && candidate.times !== 0);
  if (!fault) return false;
  fault.times = (fault.times ?? 1) - 1;
  if (fault.delay_s) await new Promise((resolve) => { setTimeout(resolve, fault.delay_s * 1000); });
  if (fault.drop) {
    ctx.respond = false;
    ctx.req.socket.destroy();
    return true;
  }
  if (!fault.status) return false;
  ctx.status = fault.status;
  ctx.body = fault.body ?? { error: 'temporarily_unavailable' };
  ctx.set(fault.headers ?? {});
  return true;
}

function makeProvider(issuer) {
  const provider = new Provider(issuer, configuration);
  provider.use(async (ctx, next) => {
    if (ctx.path.startsWith('/_rig/')) {
      await sideChannel(provider, ctx);
      return;
    }
    count(ctx.path.replace(/^(\/(?:interaction|device|auth))\/[\w-]{40,}/, '$1/:uid')); // pages have an identifier
    if (await fail(ctx)) return;
    await next();
    if (ctx.path === '/token' && ctx.oidc?.params?.grant_type) count(`/token ${ctx.oidc.params.grant_type}`);
    if (ctx.path === '/device/auth' && ctx.status === 200 && current.interval > 0) {
      ctx.body = { ...ctx.body, interval: current.interval };
    }
  });
  provider.on('server_error', (ctx, error) => console.error(ctx.path, error));
  for (const event of ['authorization.error', 'device_authorization.error', 'grant.error', 'introspection.error', 'revocation.error']) {
    provider.on(event, (ctx, error) => console.error(event, ctx.path, error.error, error.error_detail ?? error.error_description));
  }
  return provider;
}

const listen = (server, port) => new Promise((resolve, reject) => {
  server.once('error', reject);
  server.listen(port, '127.0.0.1', resolve);
});
const tls = { cert: fs.readFileSync(options.certificate), key: fs.readFileSync(options.key) };
await listen(http.createServer(makeProvider(`http://127.0.0.1:${options.httpPort}`).callback()), options.httpPort);
await listen(https.createServer(tls, makeProvider(`https://localhost:${options.httpsPort}`).callback()), options.httpsPort);
process.stdin.resume().on('end', () => process.exit(0));
process.stdout.write('ready\n');
