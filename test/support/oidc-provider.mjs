// An OpenID provider, as `https://localhost:…`: `node oidc-provider.mjs <site> <key and certificate>`. Any name and password
// log in. Sends its address to the process that has forked it, is sent where the site really is, and ends with that process.
import { createServer } from 'node:https';

process.once('disconnect', () => process.exit());
// It says of every default that production needs another one.
console.info = console.warn = () => {};
const { Provider } = await import('oidc-provider');

const [site, certificate] = process.argv.slice(2);
let address = site;
process.once('message', (url) => (address = url));

const server = createServer(JSON.parse(certificate));
server.listen(0, () => {
  const issuer = `https://localhost:${server.address().port}`;
  const provider = new Provider(issuer, {
    clients: [
      {
        client_id: 'shop',
        client_secret: 'the secret of the shop, which is long enough',
        redirect_uris: [`${site}/callback`],
        post_logout_redirect_uris: [`${site}/`],
        backchannel_logout_uri: `${site}/backchannel-logout`,
      },
    ],
    features: { backchannelLogout: { enabled: true } },
    // Its own dispatcher refuses addresses of this machine.
    fetch: (url, options) => fetch(String(url).replace(site, address), { ...options, dispatcher: undefined }),
  });
  provider.on('backchannel.error', (_context, error) => console.error(error));
  server.on('request', provider.callback());
  process.send(issuer);
});
