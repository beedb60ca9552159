// One transaction, from the wallet's choice to the block that has it; each way it can end has words of its own.
import { call, create, Refused } from './api.js'
import { signedIn } from './session.js'
import { ChainUnknown, Declined, wallets } from './wallet.js'

const LOOK_MS = 2_000

/** The dialog in which a person follows what happens. */
export class Progress {
  constructor (dialog, words) {
    this.dialog = dialog
    this.words = words
  }

  say (step, text = this.words[step]) {
    this.dialog.dataset.step = step
    this.dialog.querySelector('[data-say]').textContent = text
  }

  /** Return the wallet to use: the only one, the one that is chosen, or undefined where there is none. */
  async wallet () {
    const offered = await wallets()
    if (offered.length < 2) return offered[0]
    this.say('choose')
    const list = this.dialog.querySelector('[data-wallets]')
    return await new Promise(resolve => {
      list.replaceChildren(...offered.map(wallet => {
        const button = document.createElement('button')
        button.type = 'button'
        button.className = 'button quiet'
        if (wallet.icon !== '') button.append(Object.assign(new Image(24, 24), { src: wallet.icon, alt: '' }))
        button.append(wallet.name)
        button.addEventListener('click', () => { list.replaceChildren(); resolve(wallet) })
        return button
      }))
    })
  }

  /** Run `steps` with the dialog open; whatever stops them is told. Return what they return. */
  async follow (steps) {
    this.dialog.querySelector('[data-wallets]').replaceChildren()
    if (!this.dialog.open) this.dialog.showModal()
    this.say('start')
    try {
      const wallet = await this.wallet()
      if (wallet === undefined) return this.say('failed', this.words.no_wallet)
      this.say('connect')
      const account = await wallet.connect()
      this.say('sign')
      await signedIn(wallet, account)
      return await steps(wallet, account)
    } catch (error) {
      this.say('failed', this.#reason(error))
    }
  }

  #reason (error) {
    if (error instanceof Declined) return this.words.declined
    if (error instanceof ChainUnknown) return this.words.chain_unknown
    if (error instanceof TypeError) return this.words.offline
    if (error instanceof Refused) return this.words[error.code] ?? error.message
    return this.words.wallet_failed
  }
}

/** Return once a transaction is in a block that the platform has read, or can never be. */
async function settled (hash, heard) {
  while (true) {
    const transaction = await call('GET', `/transactions/${hash}`)
    if (transaction.status === 'failed' || transaction.status === 'replaced') return transaction
    if (transaction.status === 'mined' && transaction.indexed) return transaction
    await Promise.race([heard(), new Promise(resolve => setTimeout(resolve, LOOK_MS))])
  }
}

/**
 * Have a person sign and send what `prepare` returns, an intent of the platform; return whether it took effect.
 *
 * `heard` returns a promise of the next message about it.
 */
export function transact (progress, chainId, prepare, heard = () => new Promise(() => {})) {
  return progress.follow(async (wallet, account) => {
    await wallet.switchTo(chainId)
    progress.say('prepare')
    const intent = await prepare()
    if (!await wallet.affords(intent, account)) {
      progress.say('failed', progress.words['chain.insufficient_funds'])
      return false
    }
    progress.say('confirm')
    const hash = await wallet.send(intent)
    progress.say('sent')
    await create('/transactions', { hash, chainId })
    const transaction = await settled(hash, heard)
    if (transaction.status === 'mined') {
      progress.say('done')
      return true
    }
    const soldOut = /SoldOut$/.test(transaction.reason?.error ?? '')
    const why = transaction.status === 'replaced' ? 'replaced' : soldOut ? 'tickets.sold_out' : 'reverted'
    progress.say('failed', progress.words[why])
    return false
  })
}
