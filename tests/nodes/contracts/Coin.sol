// SPDX-License-Identifier: MIT
// What the EVM node tests pay with.  compile.js turns it into contracts.json, which the tests deploy.
pragma solidity ^0.8.20;

/// The least that EIP-20 asks for.  Call data behind the arguments is ignored, as by every token: memos live there.
contract Coin {
    mapping(address => uint256) public balanceOf;
    mapping(address => mapping(address => uint256)) public allowance;
    uint256 public totalSupply;
    uint8 public constant decimals = 6;
    event Transfer(address indexed from, address indexed to, uint256 value);
    event Approval(address indexed owner, address indexed spender, uint256 value);

    constructor() {
        totalSupply = 10 ** 15;
        balanceOf[msg.sender] = totalSupply;
        emit Transfer(address(0), msg.sender, totalSupply);
    }

    function approve(address spender, uint256 value) external returns (bool) {
        allowance[msg.sender][spender] = value;
        emit Approval(msg.sender, spender, value);
        return true;
    }

    function transfer(address to, uint256 value) external returns (bool) {
        return move(msg.sender, to, value);
    }

    /// Anyone may move nothing from anyone: the address-poisoning trick.
    function transferFrom(address from, address to, uint256 value) external returns (bool) {
        if (value > 0) allowance[from][msg.sender] -= value;
        return move(from, to, value);
    }

    function move(address from, address to, uint256 value) private returns (bool) {
        balanceOf[from] -= value;
        balanceOf[to] += value;
        emit Transfer(from, to, value);
        return true;
    }
}

/// Pays others: internal transfers, which only traces show.
contract Payer {
    function pay(address payable[] calldata to, uint256 each) external payable {
        for (uint256 i = 0; i < to.length; i++) {
            (bool ok, ) = to[i].call{value: each}("");
            require(ok, "not paid");
        }
    }

    /// The coin goes to `to` inside a call that is undone: the transaction succeeds, nothing was paid.
    function pretend(address payable to, uint256 each) external payable {
        try this.payAndUndo(to, each) {
            revert("must not succeed");
        } catch {}
    }

    function payAndUndo(address payable to, uint256 each) external {
        (bool ok, ) = to.call{value: each}("");
        require(ok, "not paid");
        revert("undone");
    }
}
