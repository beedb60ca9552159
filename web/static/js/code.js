// The code that admits its holder, full on the screen: drawn anew for every slot while it is shown.
import { correction, generate } from '../vendor/lean-qr.js'
import { call, Refused } from './api.js'

const SHORTEST_MS = 3_000
const LONGEST_MS = 30_000
const AGAIN_MS = 2_000
const QUIET_ZONE = 4

/** Keep the screen on; return what lets it go. Nothing happens where browsers cannot. */
async function awake () {
  try {
    const lock = await navigator.wakeLock.request('screen')
    return () => lock.release()
  } catch {
    return () => {}
  }
}

/**
 * Show the codes of a ticket in a dialog until it is closed.
 *
 * `words` has the texts for `offline` and for the codes of refusals.
 */
export async function showCode (dialog, words, ticket, { title, tier }) {
  const canvas = dialog.querySelector('canvas')
  const state = dialog.querySelector('[data-say]')
  let timer = 0

  function draw ({ code, refreshAfter }) {
    generate(code, { minCorrectionLevel: correction.M }).toCanvas(canvas, { pad: QUIET_ZONE })
    dialog.dataset.state = 'shown'
    state.textContent = words.changes
    // By the phone's clock, which may be wrong by any amount.
    return Math.min(Math.max(new Date(refreshAfter) - Date.now(), SHORTEST_MS), LONGEST_MS)
  }

  function told (error) {
    dialog.dataset.state = 'gone'
    canvas.width = canvas.height = 0
    state.textContent = error instanceof Refused ? words[error.code] ?? error.message : words.offline
    return AGAIN_MS
  }

  async function turn () {
    const pause = await call('GET', `/tickets/${ticket}/qr`).then(draw, told)
    if (dialog.open) timer = setTimeout(turn, pause)
  }

  dialog.querySelector('[data-title]').textContent = title
  dialog.querySelector('[data-tier]').textContent = tier
  dialog.showModal()
  const sleep = await awake()
  dialog.addEventListener('close', () => {
    clearTimeout(timer)
    canvas.width = canvas.height = 0
    sleep()
  }, { once: true })
  await turn()
}
