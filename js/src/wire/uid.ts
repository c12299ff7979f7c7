/** A random name. `crypto.randomUUID` is missing on pages served without TLS, as on many a hub in a local network. */
export function uid(): string {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}
