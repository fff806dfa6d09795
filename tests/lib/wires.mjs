// SPDX-License-Identifier: MIT
// A network between a client and a daemon: forwards, or is cut.
import net from 'node:net';

export class Wires {
	/** target: has the port to forward to. */
	constructor(target) {
		this.target = target;
		this.open = new Set();
		this.isCut = false;
		this.listener = net.createServer((near) => this.join(near));
	}

	/** Listens on a free port of this machine; closed with t. */
	async start(t) {
		await new Promise((resolve) => this.listener.listen(0, '127.0.0.1', resolve));
		this.port = this.listener.address().port;
		t.after(() => {
			this.cut();
			this.listener.close();
		});
		return this;
	}

	join(near) {
		near.on('error', () => near.destroy());
		if (this.isCut) {
			near.destroy();
			return;
		}
		const far = net.connect(this.target.port, '127.0.0.1');
		for (const [one, other] of [[near, far], [far, near]]) {
			this.open.add(one);
			one.on('error', () => one.destroy())
				.on('close', () => { this.open.delete(one); other.destroy(); });
			one.pipe(other);
		}
	}

	cut() {
		this.isCut = true;
		for (const socket of this.open) socket.destroy();
	}

	mend() {
		this.isCut = false;
	}
}
