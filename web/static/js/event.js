// An event's page: how many tickets are left, as it changes, and buying them.
import { create } from './api.js'
import { listen } from './live.js'
import { Progress, transact } from './transact.js'

const tickets = document.querySelector('[data-event]')
const left = document.getElementById('left').innerHTML
const gone = document.getElementById('gone').innerHTML
const few = Number(tickets.dataset.few)
const number = new Intl.NumberFormat(document.documentElement.lang)
const CHANGES = new Set(['ticket_sold', 'ticket_refunded', 'price_update', 'event_updated', 'reverted'])
const progress = new Progress(document.getElementById('progress'), JSON.parse(document.getElementById('words').textContent))
let asked = 0
let next = Promise.withResolvers()

function show (tier) {
  const row = tickets.querySelector(`[data-tier="${tier.tierId}"]`)
  if (row === null || tier.state !== row.dataset.state && tier.state !== 'sold_out') return location.reload()
  const state = row.querySelector('.state')
  row.dataset.state = tier.state
  row.querySelector('meter').value = tier.sold
  row.querySelector('form')?.toggleAttribute('hidden', tier.state !== 'on_sale')
  if (tier.state === 'on_sale') {
    state.textContent = left.replace('{left}', number.format(tier.remaining))
    state.classList.toggle('few', tier.remaining <= few)
  } else if (tier.state === 'sold_out') {
    state.textContent = gone
    state.classList.remove('few')
  }
}

async function read (seen) {
  const turn = ++asked
  const headers = seen === undefined ? {} : { 'Echain-Seen': seen }
  const answer = await fetch(`/api/v1/events/${tickets.dataset.event}/availability`, { headers })
  if (!answer.ok || turn !== asked) return
  const { data } = await answer.json()
  data.tiers.forEach(show)
}

for (const span of tickets.querySelectorAll('[data-left]')) {
  span.parentElement.classList.toggle('few', Number(span.dataset.left) <= few)
}
listen(tickets.dataset.live, [`event:${tickets.dataset.event}`], {
  heard: message => {
    next.resolve()
    next = Promise.withResolvers()
    if (CHANGES.has(message.type)) read(message.id)
  },
  stale: () => read()
})

for (const form of tickets.querySelectorAll('form')) {
  form.hidden = form.closest('li').dataset.state !== 'on_sale'
  form.addEventListener('submit', event => {
    event.preventDefault()
    const order = {
      eventId: tickets.dataset.event,
      tierId: Number(form.closest('li').dataset.tier),
      quantity: Number(new FormData(form).get('quantity'))
    }
    transact(progress, Number(tickets.dataset.chain), () => create('/tickets/purchase', order), () => next.promise)
  })
}
