// Signing in with a wallet (EIP-4361) and out again.
import { call, seemsSignedIn, Refused } from './api.js'

const LIFE_MS = 5 * 60_000

/** Return who is signed in, null when nobody is. */
export async function whoAmI () {
  if (!seemsSignedIn()) return null
  try {
    return await call('GET', '/auth/me')
  } catch (error) {
    if (error instanceof Refused && error.status === 401) return null
    throw error
  }
}

/** Have a wallet's account sign in; the session comes as cookies. */
export async function signIn (wallet, account) {
  const nonce = await call('GET', `/auth/nonce/${account}`)
  const message = [
    `${nonce.domain} wants you to sign in with your Ethereum account:`,
    nonce.address,
    '',
    'Sign in to echain.',
    '',
    `URI: ${nonce.uri}`,
    'Version: 1',
    `Chain ID: ${nonce.chainIds[0]}`,
    `Nonce: ${nonce.nonce}`,
    `Issued At: ${new Date().toISOString()}`,
    `Expiration Time: ${new Date(Date.now() + LIFE_MS).toISOString()}`
  ].join('\n')
  const signature = await wallet.sign(message, account)
  await call('POST', '/auth/verify', { message, signature, cookies: true })
  return nonce.address
}

/** Be signed in as this account: as it is, or by signing. */
export async function signedIn (wallet, account) {
  const me = await whoAmI()
  if (me?.address?.toLowerCase() === account.toLowerCase()) return me.address
  return await signIn(wallet, account)
}

export function signOut () {
  return call('POST', '/auth/logout')
}
