// Writes viem.json: sign-in messages as viem words them, signed by viem's accounts, in every form that it can spell.
// In an empty folder: npm install viem@2.47.0; copy this file there; node make_viem.mjs > …/tests/accounts/vectors/viem.json
import { serializeCompactSignature, parseSignature, signatureToCompactSignature, toHex } from 'viem'
import { privateKeyToAccount } from 'viem/accounts'
import { createSiweMessage } from 'viem/siwe'

const issuedAt = new Date('2026-01-02T03:04:05.678Z')
const later = new Date('2026-01-02T03:34:05.678Z')
const earlier = new Date('2026-01-02T03:00:00.000Z')
const plain = { domain: 'tickets.example', uri: 'https://tickets.example', version: '1', chainId: 84532, nonce: 'a1b2c3d4e5f60718', issuedAt }
const cases = {
  'no optional field': {},
  'a statement': { statement: 'Sign in to echain.' },
  'a statement of all its characters': { statement: "!$&'()*+,;=:/?#[]@ -._~ azAZ09" },
  'a scheme': { scheme: 'https' },
  'a port': { domain: 'tickets.example:8443', uri: 'https://tickets.example:8443/login' },
  'a host that is an address': { domain: '127.0.0.1:8000', uri: 'http://127.0.0.1:8000', scheme: 'http' },
  'localhost': { domain: 'localhost:3000', uri: 'http://localhost:3000/' },
  'a longer uri': { uri: 'https://tickets.example/sign-in?next=%2Fevents%2F1&x=(y)#top' },
  'another chain': { chainId: 1 },
  'a large chain': { chainId: 4294967295 },
  'a long nonce': { nonce: 'Z'.repeat(64) },
  'an expiration': { expirationTime: later },
  'a not-before': { notBefore: earlier },
  'a request id': { requestId: 'some-id_1.2~3' },
  'one resource': { resources: ['https://tickets.example/terms'] },
  'several resources': { resources: ['ipfs://bafybeigdyrzt5sfp7udm7hu76uh7y26nf3efuylqabf3oclgtqy55fbzdi', 'https://tickets.example/a?b=c#d', 'urn:isbn:0451450523', 'mailto:a@tickets.example'] },
  'everything': { scheme: 'https', statement: 'I accept the terms: https://tickets.example/terms', expirationTime: later, notBefore: earlier, requestId: '1', resources: ['https://tickets.example/1', 'https://tickets.example/2'] },
}

const vectors = []
let number = 0
for (const [name, fields] of Object.entries(cases)) {
  const account = privateKeyToAccount(toHex(BigInt(++number) * 0x1234567890abcdefn, { size: 32 }))
  const all = { ...plain, ...fields, address: account.address }
  const message = createSiweMessage(all)
  const signature = await account.signMessage({ message })
  const parts = parseSignature(signature)
  vectors.push({
    name,
    fields: all,
    message,
    signature,
    zeroBasedSignature: signature.slice(0, -2) + toHex(parts.yParity, { size: 1 }).slice(2),
    compactSignature: serializeCompactSignature(signatureToCompactSignature(parts)),
  })
}
console.log(JSON.stringify(vectors, null, 1))
