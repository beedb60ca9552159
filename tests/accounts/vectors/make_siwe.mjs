// Writes siwe.json: sign-in messages as the npm package siwe words them, signed by ethers, and which of many altered
// messages its parser takes.
// In an empty folder: npm install siwe@3.0.0 ethers@6.15.0; copy this file there; node make_siwe.mjs > …/tests/accounts/vectors/siwe.json
import { SiweMessage } from 'siwe'
import { Wallet, toBeHex } from 'ethers'

const later = '2026-01-02T03:34:05.678Z'
const earlier = '2026-01-02T03:00:00.000Z'
const plain = { domain: 'tickets.example', uri: 'https://tickets.example', version: '1', chainId: 84532, nonce: 'a1b2c3d4e5f60718', issuedAt: '2026-01-02T03:04:05.678Z' }
const cases = {
  'no optional field': {},
  'a statement': { statement: 'Sign in to echain.' },
  'a statement of all its characters': { statement: "!$&'()*+,;=:/?#[]@ -._~ azAZ09" },
  'a scheme': { scheme: 'https' },
  'a port': { domain: 'tickets.example:8443', uri: 'https://tickets.example:8443/login' },
  'an IPv6 host': { domain: '[2001:db8::1]:8000', uri: 'https://[2001:db8::1]:8000' },
  'user information': { domain: 'me@tickets.example', uri: 'https://me@tickets.example' },
  'another chain': { chainId: 1 },
  'a time with an offset': { issuedAt: '2026-01-02T04:04:05+01:00' },
  'a time without a fraction': { issuedAt: '2026-01-02T03:04:05Z' },
  'an expiration': { expirationTime: later },
  'a not-before': { notBefore: earlier },
  'a request id': { requestId: 'some-id_1.2~3' },
  'several resources': { resources: ['ipfs://bafybeigdyrzt5sfp7udm7hu76uh7y26nf3efuylqabf3oclgtqy55fbzdi', 'https://tickets.example/a?b=c#d', 'urn:isbn:0451450523'] },
  'everything': { scheme: 'https', statement: 'I accept the terms: https://tickets.example/terms', expirationTime: later, notBefore: earlier, requestId: '1', resources: ['https://tickets.example/1', 'https://tickets.example/2'] },
}

const messages = []
let number = 0n
for (const [name, fields] of Object.entries(cases)) {
  const wallet = new Wallet(toBeHex(++number * 0xfedcba0987654321n, 32))
  const all = { ...plain, ...fields, address: wallet.address }
  const message = new SiweMessage(all).prepareMessage()
  messages.push({ name, fields: all, message, signature: await wallet.signMessage(message) })
}

const takes = (text) => {
  try {
    new SiweMessage(text)
    return '1'
  } catch {
    return '0'
  }
}
const base = messages.at(-1).message
const places = [...base].map((_, place) => place)
const replaced = Object.fromEntries(
  ['0', '9', 'a', 'Z', ':', '/', ' ', '\n', '"', '%', '<', '\u00e9', '-', '@', ']'].map((character) => [
    character,
    places.map((place) => takes(base.slice(0, place) + character + base.slice(place + 1))).join(''),
  ]),
)
const left_out = places.map((place) => takes(base.slice(0, place) + base.slice(place + 1))).join('')
const lines = base.split('\n')
const order = []
for (let one = 0; one < lines.length; one++)
  for (let other = one + 1; other < lines.length; other++) {
    const swapped = [...lines]
    ;[swapped[one], swapped[other]] = [lines[other], lines[one]]
    order.push(takes(swapped.join('\n')))
  }
console.log(JSON.stringify({ messages, altered: { base, replaced, left_out, swapped_lines: order.join('') } }, null, 1))
