// Where oidc-provider keeps tokens, grants, sessions and replay records. One for every Provider of the process, so that a
// rotation of nonces, which takes a new Provider, keeps them.
const store = new Map();

export class Store {
  constructor(model) { this.model = model; }
  key(id) { return `${this.model}:${id}`; }
  async upsert(id, payload, expiresIn) { store.set(this.key(id), { payload, until: expiresIn ? Date.now() + expiresIn * 1000 : Infinity }); }
  async find(id) {
    const hit = store.get(this.key(id));
    if (hit && hit.until > Date.now()) return hit.payload;
    store.delete(this.key(id));
    return undefined;
  }
  async findByUid(uid) { return this.where((payload) => payload.uid === uid)[0]?.[1].payload; }
  async findByUserCode() { return undefined; }
  async consume(id) { const hit = store.get(this.key(id)); if (hit) hit.payload.consumed = Math.floor(Date.now() / 1000); }
  async destroy(id) { store.delete(this.key(id)); }
  async revokeByGrantId(grantId) { for (const [key] of this.where((payload) => payload.grantId === grantId)) store.delete(key); }
  where(holds) {
    return [...store].filter(([key, { payload, until }]) => key.startsWith(`${this.model}:`) && until > Date.now() && holds(payload));
  }
}
