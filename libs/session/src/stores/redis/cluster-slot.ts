const SLOTS = 16_384;

/** CRC-16/XMODEM, as the specification of Redis Cluster has it. */
const POLYNOMIAL = 0x1021;

/**
 * The slot of a key in a Redis Cluster. What stands in its first braces decides, if anything does. Not by cluster-key-slot,
 * which skips empty braces to look for others (`{}foo{bar}`), while Redis takes the whole key then.
 */
export function slotOf(key: string): number {
  const hashed = /^[^{]*\{([^}]+)\}/.exec(key)?.[1] ?? key;
  let crc = 0;
  for (const byte of Buffer.from(hashed)) {
    crc ^= byte << 8;
    for (let bit = 0; bit < 8; bit++) crc = crc & 0x8000 ? (crc << 1) ^ POLYNOMIAL : crc << 1;
  }
  return (crc & 0xffff) % SLOTS;
}
