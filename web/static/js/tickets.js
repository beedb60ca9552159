// Somebody's tickets: signing in and out, giving one away, taking the money of a cancelled event back.
import { create, seemsSignedIn } from './api.js'
import { showCode } from './code.js'
import { signOut, whoAmI } from './session.js'
import { Progress, transact } from './transact.js'

const page = document.querySelector('.mine')
const giving = document.getElementById('giving')
const words = JSON.parse(document.getElementById('words').textContent)
const progress = new Progress(document.getElementById('progress'), words)

for (const button of document.querySelectorAll('button[hidden]')) button.hidden = false

// The token ends before the session does: a page that came without it may be somebody's all the same.
if (page.dataset.signedIn === 'no' && seemsSignedIn() && await whoAmI() !== null) location.reload()

document.getElementById('sign-in')?.addEventListener('click', async () => {
  const account = await progress.follow((_, account) => account)
  if (account !== undefined) location.reload()
})

document.getElementById('sign-out')?.addEventListener('click', async () => {
  await signOut()
  location.reload()
})

function act (button, path, body) {
  const { ticket, chain } = button.closest('[data-ticket]').dataset
  return transact(progress, Number(chain), () => create(`/tickets/${ticket}/${path}`, body))
}

/** Return the address that a ticket is given to, null when the person thinks better of it. */
function receiver () {
  const form = giving.querySelector('form')
  form.reset()
  giving.returnValue = ''
  giving.showModal()
  return new Promise(resolve => giving.addEventListener('close', () => {
    resolve(giving.returnValue === 'yes' ? new FormData(form).get('to') : null)
  }, { once: true }))
}

function showAnew () {
  progress.dialog.addEventListener('close', () => location.reload(), { once: true })
}

for (const button of document.querySelectorAll('[data-show]')) {
  button.addEventListener('click', () => {
    const ticket = button.closest('[data-ticket]')
    const [title, tier] = ['h3', '.tier'].map(one => ticket.querySelector(one).textContent.trim())
    showCode(document.getElementById('code'), words, ticket.dataset.ticket, { title, tier })
  })
}
for (const button of document.querySelectorAll('[data-give]')) {
  button.addEventListener('click', async () => {
    const to = await receiver()
    if (to !== null && await act(button, 'transfer', { to })) showAnew()
  })
}
for (const button of document.querySelectorAll('[data-refund]')) {
  button.addEventListener('click', async () => {
    if (await act(button, 'refund')) showAnew()
  })
}
