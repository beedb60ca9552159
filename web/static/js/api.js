// The platform's REST interface, as a page of its own origin uses it: signed in by cookies that no script can read.

/** A refusal, as the platform words it. */
export class Refused extends Error {
  constructor (status, { code, message, details }) {
    super(message)
    this.status = status
    this.code = code
    this.details = details ?? {}
  }
}

/** Return the CSRF token of the session, '' when nobody is signed in. */
function csrfToken () {
  const found = document.cookie.match(/(?:^|; )(?:__Host-)?echain_csrf=([^;]*)/)
  return found === null ? '' : found[1]
}

/** Return whether a session seems to be there; only the platform knows whether it still holds. */
export function seemsSignedIn () {
  return csrfToken() !== ''
}

async function send (method, path, body, headers) {
  const given = { ...headers }
  if (csrfToken() !== '') given['X-CSRF-Token'] = csrfToken()
  if (body !== undefined) given['Content-Type'] = 'application/json'
  const answer = await fetch(`/api/v1${path}`, { method, headers: given, body: body === undefined ? undefined : JSON.stringify(body) })
  const envelope = await answer.json()
  if (!envelope.success) throw new Refused(answer.status, envelope.error)
  return envelope.data
}

let renewing = null

/** Trade the refresh cookie for new ones, once however many ask. */
function renew () {
  renewing ??= navigator.locks.request('echain-refresh', () => send('POST', '/auth/refresh', {}))
    .finally(() => { renewing = null })
  return renewing
}

/**
 * Call a route and return its `data`; an expired session is renewed on the way.
 *
 * Throws `Refused` for an answer that refuses, `TypeError` when the platform cannot be reached.
 */
export async function call (method, path, body, headers = {}) {
  try {
    return await send(method, path, body, headers)
  } catch (error) {
    if (!(error instanceof Refused) || error.status !== 401 || !seemsSignedIn()) throw error
    await renew()
    return await send(method, path, body, headers)
  }
}

/** As `call`, for a POST that creates: however often the network repeats it, it takes effect once. */
export function create (path, body) {
  return call('POST', path, body, { 'Idempotency-Key': crypto.randomUUID() })
}
