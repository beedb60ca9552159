// Messages of channels over one plain WebSocket. It comes back by itself and asks for what it missed.

const FIRST_PAUSE_MS = 500
const LONGEST_PAUSE_MS = 30_000

/**
 * Hear channels until `stop` is called.
 *
 * `heard` gets each message once, in order. `stale` is called when the state is to be read anew: once at the
 * beginning, and when messages are lost for good.
 */
export function listen (url, channels, { heard, stale }) {
  let socket = null
  let after = null
  let pause = FIRST_PAUSE_MS
  let timer = 0
  let stopped = false

  function connect () {
    socket = new WebSocket(url)
    socket.addEventListener('open', () => {
      const ask = { op: 'subscribe', channels }
      if (after !== null) ask.after = after
      socket.send(JSON.stringify(ask))
    })
    socket.addEventListener('message', event => take(JSON.parse(event.data)))
    socket.addEventListener('close', again)
  }

  function take (message) {
    if (message.type === 'subscribed') {
      pause = FIRST_PAUSE_MS
      const first = after === null
      after ??= message.data.id
      // What was told between the drawing of the page and now, nobody heard.
      if (first) stale()
    } else if (message.type === 'resync') {
      after = message.id
      stale()
    } else if (message.channel !== undefined) {
      after = message.id
      heard(message)
    }
  }

  function again () {
    if (stopped) return
    // Thousands of pages that lost the same server must not all come back at once.
    timer = setTimeout(connect, pause * (0.5 + Math.random()))
    pause = Math.min(pause * 2, LONGEST_PAUSE_MS)
  }

  connect()
  return function stop () {
    stopped = true
    clearTimeout(timer)
    socket.close()
  }
}
