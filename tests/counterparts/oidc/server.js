// node server.js PORT REDIRECT_URI CLIENT_SECRET : a provider on loopback where every name may log in with any password.
// The name says what the claims are: "lee~ct-readers" is subject and user "lee" in the group ct-readers.
import { Provider } from "oidc-provider";

const [port, redirectUri, secret] = process.argv.slice(2);
const issuer = `http://127.0.0.1:${port}`;
const provider = new Provider(issuer, {
  clients: [{ client_id: "triage", client_secret: secret, redirect_uris: [redirectUri] }],
  pkce: { required: () => true },
  scopes: ["openid", "profile"],
  claims: { openid: ["sub"], profile: ["preferred_username", "groups"] },
  features: { devInteractions: { enabled: true } },
  findAccount: (_, id) => {
    const [name, ...groups] = id.split("~");
    return { accountId: id, claims: () => ({ sub: id, preferred_username: name, groups }) };
  },
});
provider.listen(Number(port), "127.0.0.1", () => console.log(JSON.stringify({ ready: issuer })));
